from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.anytime import (
    anytime_returns,
    decision_baselines,
    point_weights,
    trapezoid_weights,
    uniform_weights,
)
from mrt_reward.core.progress import progress_rewards
from mrt_reward.core.regret import normalised_regret

X = np.array([10.0, 30.0, 70.0, 150.0])
CURVES = st.lists(st.tuples(st.integers(0, 100), st.floats(0, 1)), min_size=1, max_size=8)


def curve(points: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    lengths, values = zip(*points, strict=True)
    return np.cumsum(np.array(lengths, np.float64)), np.array(values)


def test_what_is_known_early_is_known_under_more_budgets() -> None:
    # C = 100: an episode that ends at 30, 70 or 150 tokens is in time for 70 %, 30 % and none of the budgets.
    assert uniform_weights(X, 100.0) == pytest.approx([0.7, 0.3, 0.0])


def test_budgets_may_be_a_few_points() -> None:
    # Ends 30, 70, 150. Budget 30 is not above 30; budget 100 is above 30 and 70.
    assert point_weights(X, np.array([30.0, 100.0]), np.array([0.25, 0.75])) == pytest.approx([0.75, 0.75, 0.0])


def test_the_weights_of_the_trapezoid() -> None:
    # C = 100. 10 to 30: 1 - 40/200. 30 to 70: 1 - 100/200. 70 to 150 crosses C: 30² / (200·80).
    assert trapezoid_weights(X, 100.0) == pytest.approx([0.8, 0.5, 0.05625])
    # From C on, nothing counts.
    assert trapezoid_weights(X, 70.0)[2] == 0.0
    assert trapezoid_weights(X, 5.0).tolist() == [0.0, 0.0, 0.0]


@given(CURVES, st.integers(1, 500))
def test_credit_by_the_trapezoid_is_the_normalised_regret(points: list[tuple[int, float]], beyond: int) -> None:
    token_P, value_P = curve(points)
    budget = float(token_P[0] + beyond)
    taken_off = float((progress_rewards(value_P) * trapezoid_weights(token_P, budget)).sum())
    reported = 1 - value_P[0] * (1 - token_P[0] / (2 * budget)) - taken_off
    assert reported == pytest.approx(normalised_regret(token_P, value_P, budget), abs=1e-12)


@given(CURVES, st.integers(1, 500))
def test_credit_under_a_uniform_budget_is_the_regret_of_a_step_curve(
    points: list[tuple[int, float]], beyond: int
) -> None:
    token_P, value_P = curve(points)
    budget = float(token_P[0] + beyond)
    # From x[j] on the value is J[j]; before x[0] it is 0.
    edges = np.append(np.minimum(token_P, budget), budget)
    area = float((value_P * np.diff(edges)).sum())
    taken_off = float((progress_rewards(value_P) * uniform_weights(token_P, budget)).sum())
    assert value_P[0] * (1 - token_P[0] / budget) + taken_off == pytest.approx(area / budget, abs=1e-12)


def test_an_episode_is_paid_for_all_that_follows_as_far_as_it_is_in_time() -> None:
    # 0.5·0.7, 0.0·0.3, 0.5·0: the first earns 0.35, the others nothing.
    assert anytime_returns(np.array([0.5, 0.0, 0.5]), uniform_weights(X, 100.0)) == pytest.approx([0.35, 0.0, 0.0])
    missing_K = anytime_returns(np.array([0.5, np.nan, 0.5]), np.ones(3))
    assert np.isnan(missing_K).tolist() == [True, True, False]


def test_every_decision_is_compared_with_the_others_that_came_to_it() -> None:
    # First: 0.4, 0.1, closes. Second: 0.2, closes. Third: 0.3, 0.2, cut off. Fourth: not scored.
    returns = [np.array([0.4, 0.1]), np.array([0.2]), np.array([0.3, 0.2]), None]
    first, second, third, fourth = decision_baselines(returns, [True, True, False, True], [2, 1, 2, 0])
    # Decision 0: 0.2 and 0.3. Decision 1: the second closed (0), the third went on (0.2). Decision 2: nobody else.
    assert first == pytest.approx([0.25, 0.1, 0.0])
    # Decision 1 is to close: the others went on, for 0.1 and 0.2.
    assert second == pytest.approx([0.35, 0.15])
    # It is cut off before decision 2; what it would be compared with is the first one's closing.
    assert third == pytest.approx([0.3, 0.05, 0.0])
    assert fourth == pytest.approx([0.3])


@given(st.lists(st.lists(st.floats(-1, 1), max_size=4), min_size=2, max_size=5))
def test_a_trace_does_not_move_its_own_baseline(rows: list[list[float]]) -> None:
    returns = [np.array(row) for row in rows]
    before = decision_baselines(returns, [True] * len(rows), [len(row) for row in rows])[0]
    returns[0] = returns[0] + 0.5
    assert decision_baselines(returns, [True] * len(rows), [len(row) for row in rows])[0].tolist() == before.tolist()


@pytest.mark.parametrize(
    ("tokens", "budget", "said"),
    [
        ([], 10.0, "shape"),
        ([-1.0, 2.0], 10.0, "at least 0"),
        ([1.0, np.inf], 10.0, "finite"),
        ([1.0, 2.0], 0.0, "above 0 tokens"),
        ([1.0, 2.0], np.inf, "above 0 tokens"),
    ],
)
def test_what_is_no_curve_or_no_budget_is_refused(tokens: list[float], budget: float, said: str) -> None:
    for weights in (uniform_weights, trapezoid_weights):
        with pytest.raises(ValueError, match=said):
            weights(np.array(tokens), budget)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="must not fall"):
        trapezoid_weights(np.array([2.0, 1.0]), 10.0)
    with pytest.raises(ValueError, match="sum to 1"):
        point_weights(X, np.array([30.0]), np.array([0.5]))
    with pytest.raises(ValueError, match="a share of at least 0 for each budget"):
        point_weights(X, np.array([30.0]), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="one weight for each episode"):
        anytime_returns(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="as many of all"):
        decision_baselines([None], [], [0])
