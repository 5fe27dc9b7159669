from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrt_reward.core.levels import NUM_LEVELS, Floats, levels_of
from mrt_reward.core.posterior import log_evidence, posterior
from mrt_reward.core.values import rollout_value
from mrt_reward.options import PathPrior
from mrt_reward.types import Posterior, Value, Verdict

RIGHT, WRONG, NONE, LOST = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, Verdict.UNGRADED

priors = st.builds(
    PathPrior,
    change=st.floats(0.01, 0.99),
    drift=st.sampled_from([0.0, 0.02, 0.1]),
    a=st.floats(0.2, 5),
    b=st.floats(0.2, 5),
    coupling=st.floats(0, 0.99),
    strength=st.floats(0.5, 20),
)
counts = st.integers(1, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
plain = st.lists(counts, min_size=1, max_size=7).map(lambda pairs: [rate(*pair) for pair in pairs])
graded = st.lists(st.sampled_from([RIGHT, WRONG, NONE]), min_size=1, max_size=4)
coupled = st.lists(graded, min_size=1, max_size=7).map(lambda rows: [paired(row) for row in rows])
paths = plain | coupled


def rate(correct: int, graded: int) -> Value:
    """A value from independent answers."""
    return rollout_value([RIGHT] * correct + [WRONG] * (graded - correct))


def paired(verdicts: Sequence[Verdict]) -> Value:
    """A value from coupled answers."""
    return replace(rollout_value(verdicts), verdicts=tuple(verdicts))


def known(found: Posterior | None) -> Posterior:
    assert found is not None
    return found


def of_answers(before: Value | None, after: Value, prior: PathPrior, levels: tuple[float, float]) -> float:
    """Probability of the answers to one prefix, given those to the one before and both levels: one by one."""
    x, y = levels
    had = [] if before is None or before.verdicts is None else list(before.verdicts)
    total = 1.0
    flat = [RIGHT] * (after.correct or 0) + [WRONG] * ((after.incorrect or 0) + (after.unparsed or 0))
    for m, verdict in enumerate(after.verdicts or flat):
        right = y
        if m < len(had):
            # Of pairs that are as alike as their rates allow, min(x, y) are right twice.
            alike = min(x, y) / x if had[m] is RIGHT else max(0.0, y - x) / (1 - x)
            right = prior.coupling * alike + (1 - prior.coupling) * y
        total *= right if verdict is RIGHT else 1 - right
    return total


def brute_force(values: list[Value], prior: PathPrior) -> tuple[list[float], list[float], float]:
    """Mean of each prefix, probability of not having jumped, evidence: every choice of jumps on its own."""
    levels = levels_of(prior)
    x_G, start_G = levels.level_G, levels.start_G
    drift_GG = levels.still_GG / (1 - prior.change)
    answers = [
        np.array([[of_answers(before, after, prior, (x, y)) for y in x_G] for x in x_G])
        for before, after in pairwise(values)
    ]
    first_G = np.array([of_answers(None, values[0], prior, (x, x)) for x in x_G])
    num = len(values)
    total, mean_P, same_K = 0.0, np.zeros(num), np.zeros(num - 1)
    for jumps in product([False, True], repeat=num - 1):
        weight = math.prod(prior.change if jump else 1 - prior.change for jump in jumps)
        forth = [start_G * first_G]
        steps = [
            (np.tile(start_G, (NUM_LEVELS, 1)) if jump else drift_GG) * each
            for jump, each in zip(jumps, answers, strict=True)
        ]
        for step in steps:
            forth.append(forth[-1] @ step)
        back = [np.ones(NUM_LEVELS)]
        for step in reversed(steps):
            back.append(step @ back[-1])
        laws = [weight * ahead * behind for ahead, behind in zip(forth, reversed(back), strict=True)]
        total += laws[0].sum()
        mean_P += [law @ x_G for law in laws]
        same_K += [(not jump) * laws[0].sum() for jump in jumps]
    return (mean_P / total).tolist(), (same_K / total).tolist(), math.log(total)


@settings(max_examples=25, deadline=None)
@given(paths, priors)
def test_it_is_the_sum_over_every_choice_of_jumps(values: list[Value], prior: PathPrior) -> None:
    found = known(posterior(values, prior))
    mean_P, same_K, evidence = brute_force(values, prior)
    assert found.means == pytest.approx(mean_P, abs=1e-12)
    assert found.unchanged == pytest.approx(same_K, abs=1e-12)
    assert log_evidence(values, prior) == pytest.approx(evidence, abs=1e-9)


def log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


@given(plain, st.floats(0.05, 0.95), st.floats(0.5, 3), st.floats(0.5, 3))
def test_without_drift_it_is_the_sum_over_segments_with_beta_binomial_answers(
    values: list[Value], change: float, a: float, b: float
) -> None:
    prior = PathPrior(change=change, drift=0.0, a=a, b=b)
    pairs = [(value.correct or 0, (value.correct or 0) + (value.incorrect or 0)) for value in values]
    total, mean_P = 0.0, np.zeros(len(pairs))
    for jumps in product([False, True], repeat=len(pairs) - 1):
        bounds = [0, *(j + 1 for j, jump in enumerate(jumps) if jump), len(pairs)]
        weight = math.prod(change if jump else 1 - change for jump in jumps)
        means: list[float] = []
        for start, end in pairwise(bounds):
            c, n = (sum(column) for column in zip(*pairs[start:end], strict=True))
            weight *= math.exp(log_beta(a + c, b + n - c) - log_beta(a, b))
            means += [(a + c) / (a + b + n)] * (end - start)
        total += weight
        mean_P += weight * np.array(means)
    assert known(posterior(values, prior)).means == pytest.approx((mean_P / total).tolist(), abs=1e-3)
    assert log_evidence(values, prior) == pytest.approx(math.log(total), abs=1e-2)


def test_two_prefixes_by_hand() -> None:
    # h = 1/2, Beta(1, 1), one answer each, right then wrong. Together: B(2, 2) = 1/6; apart: 1/2 · 1/2 = 1/4.
    prior = PathPrior(change=0.5, drift=0.0, a=1.0, b=1.0)
    found = known(posterior([rate(1, 1), rate(0, 1)], prior))
    assert log_evidence([rate(1, 1), rate(0, 1)], prior) == pytest.approx(math.log(0.5 / 6 + 0.5 / 4), abs=1e-3)
    assert found.unchanged == pytest.approx([(1 / 6) / (1 / 6 + 1 / 4)], abs=1e-3)  # 2/5
    # Unchanged, both means are 1/2; changed, they are 2/3 and 1/3.
    assert found.means == pytest.approx([0.4 / 2 + 0.6 * 2 / 3, 0.4 / 2 + 0.6 / 3], abs=1e-3)


@given(paths, priors)
def test_intervals_hold_their_means_and_progress_is_the_difference_of_means(
    values: list[Value], prior: PathPrior
) -> None:
    found = known(posterior(values, prior))
    assert all(0 <= low <= mean <= high <= 1 for mean, (low, high) in zip(found.means, found.intervals, strict=True))
    assert all(0 <= same <= 1 for same in found.unchanged)
    for progress, stderr, (low, high) in zip(
        np.diff(found.means), found.progress_stderrs, found.progress_intervals, strict=True
    ):
        assert -1 <= low <= progress + 1e-9
        assert progress - 1e-9 <= high <= 1
        assert 0 <= stderr <= 1


@given(plain, priors)
def test_the_order_of_time_may_be_reversed_for_independent_answers(values: list[Value], prior: PathPrior) -> None:
    prior = replace(prior, drift=0.0)
    forth, back = known(posterior(values, prior)), known(posterior(values[::-1], prior))
    assert forth.means == pytest.approx(back.means[::-1], abs=1e-9)
    assert forth.unchanged == pytest.approx(back.unchanged[::-1], abs=1e-9)
    assert forth.progress_stderrs == pytest.approx(back.progress_stderrs[::-1], abs=1e-6)


@given(plain, priors)
def test_without_coupling_the_order_of_answers_tells_nothing(values: list[Value], prior: PathPrior) -> None:
    prior = replace(prior, coupling=0.0)
    in_order = [paired([RIGHT] * (value.correct or 0) + [WRONG] * (value.incorrect or 0)) for value in values]
    assert known(posterior(in_order, prior)).means == pytest.approx(known(posterior(values, prior)).means, abs=1e-9)


def test_coupled_answers_that_all_agree_are_no_more_than_one_prefix_knows() -> None:
    verdicts = [RIGHT, WRONG, RIGHT, WRONG]
    alone = known(posterior([paired(verdicts)], PathPrior()))
    along = known(posterior([paired(verdicts)] * 6, PathPrior()))
    assert along.means[0] == pytest.approx(alone.means[0], abs=0.02)
    assert along.intervals[0] == pytest.approx(alone.intervals[0], abs=0.06)
    # As independent answers they would be 24, and surer.
    independent = known(posterior([rate(2, 4)] * 6, PathPrior(change=0.05)))
    assert np.ptp(independent.intervals[0]) < 0.7 * np.ptp(along.intervals[0])


def test_a_pair_that_differs_is_evidence_of_a_change() -> None:
    tight, loose = PathPrior(coupling=0.98), PathPrior(coupling=0.3)
    repeated = [paired([RIGHT, WRONG, WRONG, WRONG])] * 2
    differing = [paired([RIGHT, WRONG, WRONG, WRONG]), paired([WRONG, RIGHT, WRONG, WRONG])]
    same, other = known(posterior(repeated, tight)), known(posterior(differing, tight))
    assert same.unchanged[0] > 0.7
    assert other.unchanged[0] < same.unchanged[0] / 2
    # Where answers keep together less, a pair that differs tells less; and as counts, the two are the same.
    assert known(posterior(differing, loose)).unchanged[0] > 1.5 * other.unchanged[0]
    assert known(posterior([rate(1, 4)] * 2, tight)).unchanged[0] > 0.4


def test_what_has_no_partner_counts_by_itself() -> None:
    prior = PathPrior()
    more = known(posterior([paired([WRONG]), paired([WRONG, RIGHT, RIGHT, RIGHT])], prior))
    fewer = known(posterior([paired([WRONG]), paired([WRONG])], prior))
    assert more.means[1] > fewer.means[1] + 0.2
    lost = known(posterior([paired([LOST, WRONG]), paired([RIGHT, WRONG])], prior))
    assert lost.means == pytest.approx(known(posterior([paired([WRONG]), paired([WRONG, RIGHT])], prior)).means)


def test_an_end_of_an_interval_is_0_or_1_where_the_truth_may_be() -> None:
    found = known(posterior([rate(0, 8), rate(8, 8)], PathPrior()))
    assert found.intervals[0][0] == 0.0
    assert found.intervals[1][1] == 1.0


def test_a_likelihood_counts_as_answers_of_its_own_prefix() -> None:
    values, prior = [rate(2, 4), rate(2, 4)], PathPrior(strength=4.0)
    found = known(posterior(values, prior, np.array([0.0, 1.0])))
    # Each counts as four answers: none right, and all of them.
    assert found.means == pytest.approx(known(posterior([rate(2, 8), rate(6, 8)], prior)).means)
    surer = known(posterior(values, replace(prior, strength=100.0), np.array([0.25, 0.5])))
    assert surer.means == pytest.approx([0.25, 0.5], abs=0.06)


def test_likelihoods_are_given_and_no_evidence_themselves() -> None:
    prior = PathPrior(strength=50.0)
    # Nothing is said of how probable 0.9 is; and answers are as probable as a rate of about 0.9 makes them.
    found = log_evidence([rate(4, 4)], prior, np.array([0.9]))
    assert found == pytest.approx(4 * math.log(0.9), abs=0.1)


@pytest.mark.parametrize("wrong", [[0.5], [0.5, 1.5], [0.5, math.nan]])
def test_likelihoods_that_cannot_be_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="expected 2 likelihoods"):
        posterior([rate(1, 2), rate(1, 2)], PathPrior(), np.array(wrong))


def test_there_is_none_of_what_is_no_rate_or_missing() -> None:
    best = rollout_value([RIGHT, WRONG, WRONG], best_of=2)
    for value in (best, Value(0.5), Value(None), rollout_value([LOST])):
        assert posterior([rate(1, 2), value], PathPrior()) is None
        assert log_evidence([rate(1, 2), value], PathPrior()) is None
    assert posterior([], PathPrior()) is None


def test_many_answers_leave_little_of_the_prior() -> None:
    found = known(posterior([rate(25, 100), rate(25, 100), rate(75, 100)], PathPrior(change=0.3)))
    assert found.means == pytest.approx([0.25, 0.25, 0.75], abs=0.02)
    assert found.unchanged == pytest.approx([1, 0], abs=0.1)
    low, high = found.intervals[2]
    assert high - low == pytest.approx(2 * 2.326 * math.sqrt(0.1875 / 100), abs=0.05)  # 98 %


def test_long_traces_and_many_answers_stay_finite() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((300, 128)) < 0.5
    for values in (
        [rate(int(row.sum()), 128) for row in rows],
        [paired([RIGHT if x else WRONG for x in row]) for row in rows],
    ):
        found = known(posterior(values, PathPrior()))
        assert np.isfinite(found.means).all()
        assert np.isfinite(found.progress_stderrs).all()
        assert math.isfinite(log_evidence(values, PathPrior()) or math.nan)


def drawn(rng: np.random.Generator, prior: PathPrior, num: int) -> Floats:
    """Values that move as the prior believes."""
    levels = levels_of(prior)
    index = int(rng.choice(NUM_LEVELS, p=levels.start_G))
    path = [index]
    for _ in range(num - 1):
        path.append(int(rng.choice(NUM_LEVELS, p=levels.move_GG[path[-1]])))
    return levels.level_G[path]


def test_where_the_truth_is_as_it_believes_it_is_nearer_and_its_intervals_hold() -> None:
    rng = np.random.default_rng(0)
    prior = PathPrior(change=0.3)
    errors: list[tuple[float, float]] = []
    held: list[bool] = []
    for _ in range(200):
        truth_P = drawn(rng, prior, 9)
        values = [rate(int(rng.binomial(4, truth)), 4) for truth in truth_P]
        found = known(posterior(values, prior))
        progress_K = np.diff(truth_P)
        raw_K = np.diff([value.value or 0.0 for value in values])
        errors += zip((raw_K - progress_K) ** 2, (np.diff(found.means) - progress_K) ** 2, strict=True)
        ends = np.array([*found.intervals, *found.progress_intervals])
        held += (
            (ends[:, 0] - 1e-9 <= [*truth_P, *progress_K]) & ([*truth_P, *progress_K] <= ends[:, 1] + 1e-9)
        ).tolist()
    raw, smooth = np.mean(errors, axis=0)
    assert smooth < 0.6 * raw
    assert np.mean(held) > 0.94
