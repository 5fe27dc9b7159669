from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.regret import (
    accuracy_at,
    cumulative_regret,
    majority_regret,
    majority_vote,
    mean_normalised_regret,
    normalised_regret,
    weighted_majority_vote,
)

points = st.lists(
    st.tuples(st.integers(1, 10_000), st.floats(0, 1)), min_size=1, max_size=12, unique_by=lambda point: point[0]
)


def authors_regret(tokens: list[float], rates: list[float], budget: float) -> float:
    """As the notebook: walk the segments from (0, 0), stop inside the one that crosses the budget, or extend."""
    x, y, area = 0.0, 0.0, 0.0
    for token, rate in zip(tokens, rates, strict=True):
        if token >= budget:
            at_budget = y + (rate - y) * (budget - x) / (token - x)
            return 1 - (area + (y + at_budget) / 2 * (budget - x)) / budget
        area += (y + rate) / 2 * (token - x)
        x, y = token, rate
    return 1 - (area + y * (budget - x)) / budget


def test_regret_of_a_curve_worked_by_hand() -> None:
    # Through (0, 0), (10, 1/2), (20, 1), then constant to 40: areas 2.5 + 7.5 + 20 = 30 of 40.
    assert normalised_regret(np.array([10.0, 20.0]), np.array([0.5, 1.0]), 40) == pytest.approx(0.25)
    # Cut at 15, where the line is at 3/4: areas 2.5 + 3.125 = 5.625 of 15.
    assert normalised_regret(np.array([10.0, 20.0]), np.array([0.5, 1.0]), 15) == pytest.approx(0.625)


@given(points, st.integers(1, 20_000))
def test_regret_equals_the_authors_for_increasing_tokens(curve: list[tuple[int, float]], budget: int) -> None:
    curve.sort()
    tokens, rates = [float(token) for token, _ in curve], [rate for _, rate in curve]
    ours = normalised_regret(np.array(tokens), np.array(rates), budget)
    assert ours == pytest.approx(authors_regret(tokens, rates, budget), abs=1e-12)


@given(points, st.integers(1, 20_000), st.randoms())
def test_regret_is_a_share_and_does_not_depend_on_the_order(
    curve: list[tuple[int, float]], budget: int, rng: object
) -> None:
    token_N, value_N = np.array([token for token, _ in curve], float), np.array([rate for _, rate in curve])
    order = list(range(len(curve)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    regret = normalised_regret(token_N, value_N, budget)
    assert -1e-12 <= regret <= 1 + 1e-12
    assert normalised_regret(token_N[order], value_N[order], budget) == pytest.approx(regret)


def test_accuracy_is_linear_between_points_and_constant_after_them() -> None:
    budgets = np.array([0.0, 5.0, 10.0, 15.0, 99.0])
    assert accuracy_at(np.array([10.0, 20.0]), np.array([0.5, 1.0]), budgets).tolist() == [0, 0.25, 0.5, 0.75, 1]
    # Of two points at 10 tokens the later counts.
    assert accuracy_at(np.array([10.0, 10.0]), np.array([0.5, 1.0]), np.array([10.0])).tolist() == [1.0]


def test_a_jump_counts_from_where_it_is() -> None:
    # (0, 0), then 1/2 and 1 both at 10 tokens. The line to 10 rises to 1/2, so half-way it is at 1/4.
    token_N, value_N = np.array([10.0, 10.0]), np.array([0.5, 1.0])
    assert accuracy_at(token_N, value_N, np.array([5.0, 10.0, 11.0])).tolist() == [0.25, 1.0, 1.0]
    # The triangle 2.5 of 10; at 20 also the 10 at full height: 12.5 of 20. A jump at the budget itself has no area.
    assert normalised_regret(token_N, value_N, 10) == pytest.approx(0.75)
    assert normalised_regret(token_N, value_N, 20) == pytest.approx(0.375)


repeated = st.lists(st.tuples(st.integers(0, 6), st.floats(0, 1)), min_size=1, max_size=8)


@given(repeated, st.integers(1, 9))
def test_regret_is_continuous_in_the_budget(curve: list[tuple[int, float]], budget: int) -> None:
    token_N, value_N = np.array([token for token, _ in curve], float), np.array([rate for _, rate in curve])
    here = normalised_regret(token_N, value_N, budget)
    for near in (budget - 1e-9, budget + 1e-9):
        assert normalised_regret(token_N, value_N, near) == pytest.approx(here, abs=1e-6)


@given(repeated, st.integers(1, 9))
def test_regret_is_one_minus_the_mean_of_the_accuracy_curve(curve: list[tuple[int, float]], budget: int) -> None:
    # The curve is linear between whole numbers, so the midpoint rule on a whole grid is exact.
    token_N, value_N = np.array([token for token, _ in curve], float), np.array([rate for _, rate in curve])
    middles = np.arange(budget, dtype=np.float64) + np.float64(0.5)
    mean = accuracy_at(token_N, value_N, middles).mean()
    assert normalised_regret(token_N, value_N, budget) == pytest.approx(1 - mean, abs=1e-9)


def test_budgets_below_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        accuracy_at(np.array([1.0]), np.array([1.0]), np.array([-1.0]))
    with pytest.raises(ValueError, match="finite"):
        normalised_regret(np.array([1.0]), np.array([1.0]), float("inf"))


def test_problems_count_the_same_however_many_traces_they_have() -> None:
    right = (np.array([1.0]), np.array([1.0]))  # regret at 1: the triangle from (0, 0), so 1/2
    wrong = (np.array([1.0]), np.array([0.0]))  # regret 1
    assert mean_normalised_regret([[right], [wrong, wrong, wrong]], 1.0) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("tokens", "rates", "budget"),
    [([], [], 1), ([1.0], [1.0, 2.0], 1), ([1.0], [np.nan], 1), ([-1.0], [1.0], 1), ([1.0], [1.0], 0)],
)
def test_curves_that_are_none_are_refused(tokens: list[float], rates: list[float], budget: float) -> None:
    with pytest.raises(ValueError, match=r"expected|finite|above 0"):
        normalised_regret(np.array(tokens), np.array(rates), budget)
    with pytest.raises(ValueError, match="at least one"):
        mean_normalised_regret([], 1.0)


def test_cumulative_regret_sums_the_shortfall() -> None:
    # Against 1 throughout: (1 - 1/2) + (1 - 3/4); the empty prefix is not an episode.
    value_P = np.array([0.1, 0.5, 0.75])
    assert cumulative_regret(value_P=value_P, comparator_P=np.ones(3)) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="shape"):
        cumulative_regret(value_P=np.ones(2), comparator_P=np.ones(3))


def by_subsets(counts: list[int], correct: int, k: int, weights: list[float] | None = None) -> float:
    votes = [answer for answer, count in enumerate(counts) for _ in range(count)]
    weights = weights or [1.0] * len(votes)
    won = 0.0
    subsets = list(combinations(range(len(votes)), k))
    for subset in subsets:
        tally = [sum(weights[index] for index in subset if votes[index] == answer) for answer in range(len(counts))]
        best = [answer for answer, weight in enumerate(tally) if weight > max(tally) - 1e-9]
        won += (correct in best) / len(best)
    return won / len(subsets)


def test_a_majority_of_three_of_four() -> None:
    # Two right, one each of two wrong: 2 of the 4 triples hold both right ones, the other 2 tie three ways.
    assert majority_vote([2, 1, 1], 0, 3) == pytest.approx(0.5 + 0.5 / 3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4).filter(any), st.data())
def test_majority_votes_equal_the_mean_over_all_subsets(counts: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, sum(counts)))
    correct = data.draw(st.integers(0, len(counts) - 1))
    assert majority_vote(counts, correct, k) == pytest.approx(by_subsets(counts, correct, k))
    votes = [answer for answer, count in enumerate(counts) for _ in range(count)]
    weights = data.draw(st.lists(st.sampled_from([1.0, 1.5, 3.0]), min_size=len(votes), max_size=len(votes)))
    weighted = weighted_majority_vote(votes, weights, correct, k)
    assert weighted == pytest.approx(by_subsets(counts, correct, k, weights))


def test_nobody_right_never_wins() -> None:
    assert majority_vote([3, 1], None, 2) == 0.0
    assert weighted_majority_vote([1, 1], [1.0, 1.0], None, 1) == 0.0


def test_votes_that_cannot_be_counted_are_refused() -> None:
    with pytest.raises(ValueError, match="expected counts"):
        majority_vote([1], 0, 2)
    for correct in (-1, 2):
        with pytest.raises(ValueError, match="index into 2 counts"):
            majority_vote([1, 1], correct, 1)
    for weight in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="one weight"):
            weighted_majority_vote([1], [weight], 1, 1)
    with pytest.raises(ValueError, match="one weight"):
        weighted_majority_vote([], [], None, 1)
    with pytest.raises(ValueError, match="too many"):
        weighted_majority_vote([1] * 40, [1.0] * 40, 1, 20)


def test_regret_against_voting_worked_by_hand() -> None:
    # One block, thinking at 1/2 throughout: area 2.5 over budgets 1 … 6. Voting is at 1 throughout: area 5.
    votes = np.ones((2, 4))
    assert majority_regret(np.array([0.5, 0.5]), votes) == pytest.approx(0.5)
    # Voting that is never better costs nothing.
    assert majority_regret(np.array([0.5, 0.5]), votes * 0.1) == 0.0
    assert majority_regret(np.zeros(2), np.zeros((2, 4))) == 0.0
    with pytest.raises(ValueError, match="shapes"):
        majority_regret(np.zeros(2), np.zeros((3, 4)))
