from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.differences import paired
from mrt_reward.core.scores import Spread, mean_score_value, score_progress
from mrt_reward.core.values import rollout_value
from mrt_reward.types import Value, Verdict

RIGHT, WRONG = Verdict.CORRECT, Verdict.INCORRECT
verdicts = st.lists(st.booleans(), min_size=1, max_size=30)
Law = Callable[[np.random.Generator, int], np.ndarray]

LAWS: dict[str, tuple[Law, float]] = {
    "skewed": (lambda rng, n: rng.beta(2, 5, n), 2 / 7),
    "at the ends": (lambda rng, n: rng.beta(0.3, 0.3, n), 0.5),
    "mostly 0": (lambda rng, n: (rng.random(n) < 0.1) * rng.random(n), 0.05),
    "always 0.7": (lambda _, n: np.full(n, 0.7), 0.7),
    "near 1": (lambda rng, n: 1 - rng.beta(0.2, 6, n), 1 - 0.2 / 6.2),
    "uniform": (lambda rng, n: rng.random(n), 0.5),
    "verdicts": (lambda rng, n: (rng.random(n) < 0.3) * 1.0, 0.3),
}
"""How scores may be spread, and their mean."""


def holds(low: float | None, high: float | None, truth: float) -> bool:
    assert low is not None
    assert high is not None
    return low - 1e-9 <= truth <= high + 1e-9


def test_scores_give_a_mean_and_doubt_that_equal_ones_do_not_remove() -> None:
    # Weights 1, 1, ½ and ½ on 0.2, 0.6, 0 and 1: mean 1.3/3, mean square 0.9/3; (0.3 - 0.43²) / 4.
    value = mean_score_value([0.2, 0.6])
    assert value.value == pytest.approx(0.4)
    assert value.stderr == pytest.approx(math.sqrt((0.3 - (1.3 / 3) ** 2) / 4))
    assert value.scores == (0.2, 0.6)
    same = mean_score_value([0.7] * 4)
    assert same.value == pytest.approx(0.7)
    assert holds(same.low, same.high, 0.6)
    assert holds(same.low, same.high, 0.8)


def test_answers_that_were_not_graded_are_left_out_and_keep_their_index() -> None:
    value = mean_score_value([0.5, None, 0.7])
    assert value.value == pytest.approx(0.6)
    assert value.scores == (0.5, None, 0.7)
    assert mean_score_value([None]) == Value(None, None, None, None, scores=(None,))
    assert mean_score_value([]).value is None
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        mean_score_value([0.5, 1.5])


@given(verdicts)
def test_scores_of_0_and_1_are_verdicts(right: list[bool]) -> None:
    scored = mean_score_value([float(each) for each in right])
    judged = rollout_value([RIGHT if each else WRONG for each in right])
    for one, other in ((scored.value, judged.value), (scored.stderr, judged.stderr), (scored.low, judged.low)):
        assert one == pytest.approx(other, abs=1e-9)
    assert scored.high == pytest.approx(judged.high, abs=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_pairs_of_scores_of_0_and_1_are_as_sure_as_pairs_of_verdicts(pairs: list[tuple[bool, bool]]) -> None:
    before, after = zip(*pairs, strict=True)
    scored = score_progress([float(each) for each in before], [float(each) for each in after], coupled=True)
    judged = paired([RIGHT if each else WRONG for each in before], [RIGHT if each else WRONG for each in after])
    assert scored is not None
    assert judged is not None
    assert math.sqrt(scored.variance) == pytest.approx(judged.stderr)


def test_pairs_are_compared_one_by_one_and_others_as_a_whole() -> None:
    before, after = [0.1, 0.5, 0.9, None], [0.2, 0.6, 1.0, 0.3]
    together = score_progress(before, after, coupled=True)
    apart = score_progress(before, after, coupled=False)
    assert together is not None
    assert apart is not None
    # Each rises by 0.1. Weights of 3, and of 2 on what differs by 0 on the average.
    assert together.mean == pytest.approx(0.3 / 5)
    assert together.variance < apart.variance
    assert score_progress([None], [0.5], coupled=True) is None
    assert score_progress([None], [0.5], coupled=False) is None


@given(st.floats(0.001, 0.999), st.floats(1.01, 500))
def test_the_interval_is_that_of_a_beta_distribution(mean: float, size: float) -> None:
    low, high = Spread(mean, mean * (1 - mean) / (size + 1)).interval(0.0)
    assert 0 <= low <= high <= 1
    # On [-1, 1] it is the same one, stretched.
    wide = Spread(2 * mean - 1, 4 * mean * (1 - mean) / (size + 1)).interval(-1.0)
    assert wide == pytest.approx((2 * low - 1, 2 * high - 1), abs=1e-9)


@pytest.mark.parametrize("num", [4, 8, 16])
def test_intervals_of_mean_scores_hold_the_truth(num: int) -> None:
    rng = np.random.default_rng(num)
    share: dict[str, float] = {}
    for name, (law, mean) in LAWS.items():
        found = [mean_score_value(law(rng, num).tolist()) for _ in range(150)]
        share[name] = float(np.mean([holds(each.low, each.high, mean) for each in found]))
    assert min(share.values()) >= 0.88, share
    assert np.mean(list(share.values())) >= 0.94, share


@pytest.mark.parametrize("num", [4, 8, 16])
@pytest.mark.parametrize("coupled", [True, False])
def test_intervals_of_progress_hold_the_truth(num: int, coupled: bool) -> None:
    rng = np.random.default_rng(num)
    share: dict[str, float] = {}
    for name, (law, mean) in LAWS.items():
        for other, (after_law, after_mean) in LAWS.items():
            hits = 0
            for _ in range(20):
                before, after = law(rng, num), after_law(rng, num)
                # Of coupled answers, half come to the same text, and with it to the same score.
                after = np.where(rng.random(num) < 0.5, before, after) if coupled else after
                truth = (0.5 if coupled else 1.0) * (after_mean - mean)
                spread = score_progress(before.tolist(), after.tolist(), coupled=coupled)
                assert spread is not None
                hits += holds(*spread.interval(-1.0), truth)
            share[f"{name} to {other}"] = hits / 20
    assert np.mean(list(share.values())) >= 0.94, share
    assert min(share.values()) >= 0.7, share
