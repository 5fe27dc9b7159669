from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.beta import beta_cdf, beta_quantile
from mrt_reward.core.posterior import MAX_PREFIXES, Counts, SegmentPrior, fit_prior, posterior

priors = st.builds(SegmentPrior, st.floats(0.01, 0.99), st.floats(0.2, 5), st.floats(0.2, 5))
answers = st.lists(
    st.integers(0, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=7
)


def counts(pairs: list[tuple[int, int]]) -> tuple[Counts, Counts]:
    correct_P, graded_P = np.array(pairs, np.int64).T
    return correct_P, graded_P


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def brute_force(pairs: list[tuple[int, int]], prior: SegmentPrior) -> tuple[list[float], list[float], float]:
    """Mean of each prefix, probability that nothing changed, evidence: every segmentation on its own."""
    num = len(pairs)
    total, mean_P, same_K = 0.0, [0.0] * num, [0.0] * (num - 1)
    for changes in product([False, True], repeat=num - 1):
        bounds = [0, *(j + 1 for j, changed in enumerate(changes) if changed), num]
        weight = math.prod(prior.change if changed else 1 - prior.change for changed in changes)
        means: list[float] = []
        for start, end in pairwise(bounds):
            c, n = (sum(column) for column in zip(*pairs[start:end], strict=True))
            weight *= math.exp(log_beta(prior.a + c, prior.b + n - c) - log_beta(prior.a, prior.b))
            means += [(prior.a + c) / (prior.a + prior.b + n)] * (end - start)
        total += weight
        mean_P = [sum_ + weight * mean for sum_, mean in zip(mean_P, means, strict=True)]
        same_K = [sum_ + weight * (not changed) for sum_, changed in zip(same_K, changes, strict=True)]
    return [mean / total for mean in mean_P], [same / total for same in same_K], math.log(total)


@given(answers, priors)
def test_it_is_the_sum_over_every_segmentation(pairs: list[tuple[int, int]], prior: SegmentPrior) -> None:
    found = posterior(*counts(pairs), prior)
    mean_P, same_K, log_evidence = brute_force(pairs, prior)
    assert found.mean_P == pytest.approx(mean_P, abs=1e-12)
    assert found.unchanged_K == pytest.approx(same_K, abs=1e-12)
    assert found.log_evidence == pytest.approx(log_evidence, abs=1e-9)


def test_one_prefix_is_an_ordinary_beta_posterior() -> None:
    found = posterior(*counts([(3, 4)]), SegmentPrior(0.3, 0.5, 0.5))
    assert found.mean_P == pytest.approx([3.5 / 5])
    assert found.low_P == pytest.approx([beta_quantile(3.5, 1.5, 0.025)], abs=1e-3)
    assert found.high_P == pytest.approx([beta_quantile(3.5, 1.5, 0.975)], abs=1e-3)
    assert found.unchanged_K.size == 0


def test_two_prefixes_by_hand() -> None:
    # h = 1/2, Beta(1, 1), one answer each, right then wrong. Together: B(2, 2) = 1/6; apart: 1/2 · 1/2 = 1/4.
    found = posterior(*counts([(1, 1), (0, 1)]), SegmentPrior(0.5, 1.0, 1.0))
    assert found.log_evidence == pytest.approx(math.log(0.5 / 6 + 0.5 / 4))
    assert found.unchanged_K == pytest.approx([(1 / 6) / (1 / 6 + 1 / 4)])  # 2/5
    # Unchanged, both means are 1/2; changed, they are 2/3 and 1/3.
    assert found.mean_P == pytest.approx([0.4 / 2 + 0.6 * 2 / 3, 0.4 / 2 + 0.6 / 3])


@given(answers, priors)
def test_each_interval_holds_95_percent_of_its_mixture(pairs: list[tuple[int, int]], prior: SegmentPrior) -> None:
    found = posterior(*counts(pairs), prior)
    assert ((found.low_P >= 0) & (found.low_P <= found.high_P) & (found.high_P <= 1)).all()

    def below(j: int, x: float) -> float:
        """Distribution of J[j] at x, by every segmentation."""
        total = mass = 0.0
        for changes in product([False, True], repeat=len(pairs) - 1):
            bounds = [0, *(k + 1 for k, changed in enumerate(changes) if changed), len(pairs)]
            weight = math.prod(prior.change if changed else 1 - prior.change for changed in changes)
            inside = 0.0
            for start, end in pairwise(bounds):
                c, n = (sum(column) for column in zip(*pairs[start:end], strict=True))
                weight *= math.exp(log_beta(prior.a + c, prior.b + n - c) - log_beta(prior.a, prior.b))
                if start <= j < end:
                    inside = beta_cdf(prior.a + c, prior.b + n - c, x)
            total += weight
            mass += weight * inside
        return mass / total

    j = len(pairs) // 2
    # A density may be infinite at 0 and 1, so an end is checked by what lies on its two sides.
    assert below(j, max(found.low_P[j] - 1e-2, 0)) <= 0.025 + 1e-3
    assert below(j, min(found.low_P[j] + 1e-2, 1)) >= 0.025 - 1e-3
    assert below(j, max(found.high_P[j] - 1e-2, 0)) <= 0.975 + 1e-3
    assert below(j, min(found.high_P[j] + 1e-2, 1)) >= 0.975 - 1e-3


@given(answers, priors)
def test_the_order_of_time_may_be_reversed(pairs: list[tuple[int, int]], prior: SegmentPrior) -> None:
    forth, back = posterior(*counts(pairs), prior), posterior(*counts(pairs[::-1]), prior)
    assert forth.mean_P == pytest.approx(back.mean_P[::-1])
    assert forth.unchanged_K == pytest.approx(back.unchanged_K[::-1])
    assert forth.low_P == pytest.approx(back.low_P[::-1])


def test_a_prefix_without_answers_lies_between_its_neighbours() -> None:
    found = posterior(*counts([(0, 8), (0, 0), (8, 8)]), SegmentPrior(0.2))
    assert found.mean_P[0] < found.mean_P[1] < found.mean_P[2]
    assert found.high_P[1] - found.low_P[1] > found.high_P[0] - found.low_P[0]


def test_many_answers_leave_nothing_of_the_prior() -> None:
    found = posterior(*counts([(2000, 8000), (2000, 8000), (6000, 8000)]), SegmentPrior(0.3))
    assert found.mean_P == pytest.approx([0.25, 0.25, 0.75], abs=0.01)
    assert found.unchanged_K == pytest.approx([1, 0], abs=0.05)
    # One prefix: √(.25 · .75 / 16000) · 1.96 on either side.
    assert found.high_P[0] - found.low_P[0] == pytest.approx(2 * 1.96 * math.sqrt(0.1875 / 16000), rel=0.1)


def test_it_is_nearer_to_the_truth_than_the_rates_where_the_truth_is_as_it_believes() -> None:
    rng = np.random.default_rng(0)
    prior = SegmentPrior(0.3, 0.5, 0.5)
    raw = smooth = 0.0
    for _ in range(300):
        value_P = np.empty(9)
        value = rng.beta(0.5, 0.5)
        for j in range(9):
            value = rng.beta(0.5, 0.5) if j and rng.random() < prior.change else value
            value_P[j] = value
        correct_P = rng.binomial(4, value_P)
        found = posterior(correct_P, np.full(9, 4), prior)
        raw += float(((np.diff(correct_P / 4) - np.diff(value_P)) ** 2).sum())
        smooth += float(((np.diff(found.mean_P) - np.diff(value_P)) ** 2).sum())
    assert smooth < 0.6 * raw


def test_the_prior_is_found_again_from_answers_that_it_made() -> None:
    rng = np.random.default_rng(1)
    traces: list[tuple[Counts, Counts]] = []
    for _ in range(300):
        value_P = [rng.beta(2, 1)]
        for _ in range(8):
            value_P.append(rng.beta(2, 1) if rng.random() < 0.1 else value_P[-1])
        traces.append((rng.binomial(16, value_P), np.full(9, 16)))
    assert fit_prior(traces) == SegmentPrior(0.1, 2.0, 1.0)


@pytest.mark.parametrize(
    ("correct", "graded", "expected"),
    [
        ([], [], "shape"),
        ([1], [1, 2], "shape"),
        ([2], [1], "0 <= correct <= graded"),
        ([-1], [1], "0 <= correct <= graded"),
        ([0] * (MAX_PREFIXES + 1), [0] * (MAX_PREFIXES + 1), "512"),
    ],
)
def test_counts_that_cannot_be_are_refused(correct: list[int], graded: list[int], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        posterior(np.array(correct, np.int64), np.array(graded, np.int64), SegmentPrior())


def test_a_prior_out_of_range_is_refused() -> None:
    for wrong in ({"change": 0.0}, {"change": 1.0}, {"a": 0.0}, {"b": math.nan}):
        with pytest.raises(ValueError, match="must be"):
            SegmentPrior(**wrong)
    with pytest.raises(ValueError, match="at least one trace"):
        fit_prior([])
