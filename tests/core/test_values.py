from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.beta import beta_cdf, beta_quantile
from mrt_reward.core.values import likelihood_value, rollout_value
from mrt_reward.types import Verdict

RIGHT, WRONG, NONE, LOST = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, Verdict.UNGRADED
counts = st.integers(0, 12)


def test_a_success_rate_counts_misses_and_leaves_out_what_was_not_graded() -> None:
    value = rollout_value([RIGHT, WRONG, NONE, LOST, RIGHT])
    assert value.value == 0.5  # 2 of the 4 graded
    assert (value.correct, value.incorrect, value.unparsed, value.ungraded) == (2, 1, 1, 1)
    # Posterior Beta(2.5, 2.5): its variance is 1/4 · 1/6.
    assert value.stderr == pytest.approx(math.sqrt(1 / 24))
    assert value.low is not None
    assert value.high is not None
    assert value.low + value.high == pytest.approx(1.0)


@pytest.mark.parametrize(("verdicts", "best_of"), [([], 1), ([LOST, LOST], 1), ([RIGHT, LOST], 2)])
def test_too_little_graded_gives_no_value(verdicts: list[Verdict], best_of: int) -> None:
    value = rollout_value(verdicts, best_of=best_of)
    assert (value.value, value.stderr, value.low, value.high) == (None, None, None, None)


@given(counts, counts)
def test_a_success_rate_is_exactly_the_quotient(correct: int, wrong: int) -> None:
    # 1 - 9/10 is not 1/10 in floating point; c / n is.
    value = rollout_value([RIGHT] * correct + [WRONG] * wrong).value
    assert value == (correct / (correct + wrong) if correct + wrong else None)


def test_best_of_two_of_four() -> None:
    # 1 right of 4: 3 of the 6 pairs hold it.
    assert rollout_value([RIGHT, WRONG, WRONG, WRONG], best_of=2).value == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least 1"):
        rollout_value([RIGHT], best_of=0)


@given(counts, counts, st.integers(1, 6))
def test_best_of_k_is_the_mean_over_all_subsets(correct: int, wrong: int, k: int) -> None:
    verdicts = [RIGHT] * correct + [WRONG] * wrong
    value = rollout_value(verdicts, best_of=k)
    if k > len(verdicts):
        assert value.value is None
        return
    subsets = list(combinations(verdicts, k))
    assert value.value == pytest.approx(np.mean([RIGHT in subset for subset in subsets]))
    assert value.low is not None
    assert value.high is not None
    assert 0 <= value.low <= value.high <= 1


@given(counts, counts)
def test_the_interval_holds_the_rate_and_reaches_the_end_where_all_agree(correct: int, wrong: int) -> None:
    value = rollout_value([RIGHT] * correct + [WRONG] * wrong)
    if value.low is None or value.high is None or value.value is None:
        assert correct + wrong == 0
        return
    assert value.low < value.high
    assert value.low < value.value if correct else value.low == value.value == 0
    assert value.value < value.high if wrong else value.high == value.value == 1


def test_beta_quantiles_where_they_are_known() -> None:
    # Beta(1, 1) is uniform; Beta(2, 1) has x² as its distribution; Beta(1/2, 1/2) is the arcsine law.
    assert beta_quantile(1.0, 1.0, 0.3) == pytest.approx(0.3)
    assert beta_quantile(2.0, 1.0, 0.25) == pytest.approx(0.5)
    assert beta_quantile(0.5, 0.5, 0.025) == pytest.approx(math.sin(math.pi * 0.025 / 2) ** 2)


@given(st.floats(0.5, 200), st.floats(0.5, 200), st.floats(0.001, 0.999))
def test_beta_distributions_mirror_and_invert(a: float, b: float, x: float) -> None:
    assert beta_cdf(a, b, x) == pytest.approx(1 - beta_cdf(b, a, 1 - x), abs=1e-9)
    assert beta_cdf(a, b, beta_quantile(a, b, x)) == pytest.approx(x, abs=1e-6)
    assert (beta_cdf(a, b, 0.0), beta_cdf(a, b, 1.0)) == (0.0, 1.0)


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.0, 1.0))
def test_beta_distributions_of_whole_numbers_are_binomial_tails(a: int, b: int, x: float) -> None:
    # I_x(a, b) = P(at least a of a + b - 1 trials succeed), each with probability x.
    trials = a + b - 1
    tail = math.fsum(math.comb(trials, wins) * x**wins * (1 - x) ** (trials - wins) for wins in range(a, trials + 1))
    assert beta_cdf(float(a), float(b), x) == pytest.approx(tail, abs=1e-10)


@pytest.mark.parametrize(("a", "b"), [(0.5, 128.5), (128.5, 0.5), (0.5, 10_000.5), (5000.5, 5000.5)])
def test_beta_quantiles_at_the_edges(a: float, b: float) -> None:
    low, high = beta_quantile(a, b, 0.025), beta_quantile(a, b, 0.975)
    assert 0 < low < a / (a + b) < high < 1
    assert beta_cdf(a, b, low) == pytest.approx(0.025, abs=1e-6)
    assert beta_cdf(a, b, high) == pytest.approx(0.975, abs=1e-6)


def test_a_likelihood_is_the_sum_over_spellings() -> None:
    value = likelihood_value([math.log(0.5), math.log(0.25), -math.inf])
    assert value.value == pytest.approx(0.75)
    assert (value.bound, value.stderr) == ("lower", 0.0)


@pytest.mark.parametrize("logprobs", [[], [math.nan], [0.1], [math.inf]])
def test_what_is_no_log_probability_is_refused(logprobs: list[float]) -> None:
    with pytest.raises(ValueError, match="log-probability"):
        likelihood_value(logprobs)


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=8))
def test_a_likelihood_is_a_probability(logprobs: list[float]) -> None:
    value = likelihood_value(logprobs).value
    assert value is not None
    assert 0 <= value <= 1


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("num", [4, 8, 16])
def test_intervals_hold_the_truth_whatever_it_is(num: int, k: int) -> None:
    # Exactly: over all counts of right answers, by their binomial probabilities.
    found = [rollout_value([RIGHT] * right + [WRONG] * (num - right), best_of=k) for right in range(num + 1)]
    for each in found:
        assert each.low is not None
        assert each.high is not None
        assert each.value is not None
        assert each.low <= each.value <= each.high
    share: list[float] = []
    for rate in np.linspace(0, 1, 101).tolist():
        truth = 1 - (1 - rate) ** k
        weight = [math.comb(num, right) * rate**right * (1 - rate) ** (num - right) for right in range(num + 1)]
        held = [(each.low or 0.0) - 1e-9 <= truth <= (each.high or 0.0) + 1e-9 for each in found]
        share.append(sum(w for w, hit in zip(weight, held, strict=True) if hit))
    assert np.mean(share) >= 0.95
    assert min(share) >= 0.85


@given(counts, counts, st.integers(2, 6))
def test_the_standard_error_of_best_of_k_is_the_posteriors(correct: int, wrong: int, k: int) -> None:
    value = rollout_value([RIGHT] * correct + [WRONG] * wrong, best_of=k)
    if value.stderr is None:
        assert correct + wrong < max(k, 1)
        return
    a, b = wrong + 0.5, correct + 0.5
    # E Xⁿ of X ~ Beta(a, b) is B(a + n, b) / B(a, b).
    mean, square = (
        math.exp(math.lgamma(a + n) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(a + b + n)) for n in (k, 2 * k)
    )
    assert value.stderr == pytest.approx(math.sqrt(square - mean**2), rel=1e-6, abs=1e-7)
