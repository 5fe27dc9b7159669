from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.regret import normalised_regret, regret_curve
from mrt_reward.evaluation.curves import accuracy_curve, budget_grid, tokens_to_reach

curves = st.lists(st.tuples(st.integers(0, 400), st.floats(0, 1)), min_size=1, max_size=8)


def test_the_grid_holds_powers_of_two_and_the_given_budgets() -> None:
    grid = budget_grid(12288.0, 100.0)
    assert {16.0, 32.0, 4096.0, 1048576.0, 12288.0, 100.0} <= set(grid.tolist())
    assert (np.diff(grid) > 0).all()


def test_accuracy_and_regret_of_a_curve_worked_by_hand() -> None:
    # Through (0, 0), (10, 1/2), (20, 1), then constant. Areas to 10: 2.5; to 15: 2.5 + 3.125; to 40: 2.5 + 7.5 + 20.
    tokens, values = np.array([10.0, 20.0]), np.array([0.5, 1.0])
    budgets = np.array([5.0, 10.0, 15.0, 40.0])
    assert accuracy_curve(tokens, values, budgets) == pytest.approx([0.25, 0.5, 0.75, 1.0], abs=1e-9)
    expected = [1 - 0.625 / 5, 1 - 2.5 / 10, 1 - 5.625 / 15, 1 - 30 / 40]
    assert regret_curve(tokens, values, budgets) == pytest.approx(expected, abs=1e-9)


def regret_by_steps(points: list[tuple[int, float]], budget: int) -> float:
    """Trapezoids one after the other, the last one up to the budget."""
    area, (x, y) = 0.0, (0.0, 0.0)
    for x_next, y_next in [*sorted(points, key=lambda point: point[0]), (math.inf, math.nan)]:
        if x_next >= budget:
            run = 0.0 if x_next == math.inf else (y_next - y) / (x_next - x)
            return 1 - (area + (budget - x) * (y + run * (budget - x) / 2)) / budget
        area += (x_next - x) * (y + y_next) / 2
        x, y = x_next, y_next
    raise AssertionError


@given(curves, st.lists(st.integers(1, 900), min_size=1, max_size=5))
def test_regret_is_what_trapezoids_come_to(points: list[tuple[int, float]], budgets: list[int]) -> None:
    tokens, values = np.array([float(x) for x, _ in points]), np.array([y for _, y in points])
    expected = [regret_by_steps(points, budget) for budget in budgets]
    assert regret_curve(tokens, values, np.array(budgets, float)) == pytest.approx(expected, abs=1e-9)
    assert [normalised_regret(tokens, values, budget) for budget in budgets] == pytest.approx(expected, abs=1e-9)


def test_an_incomplete_curve_is_no_curve() -> None:
    missing = np.array([0.5, np.nan])
    assert np.isnan(accuracy_curve(np.array([1.0, 2.0]), missing, np.array([1.0]))).all()
    assert np.isnan(regret_curve(np.array([1.0, 2.0]), missing, np.array([1.0]))).all()
    assert np.isnan(regret_curve(np.array([]), np.array([]), np.array([1.0]))).all()


def test_tokens_to_reach_an_accuracy_worked_by_hand() -> None:
    budgets = np.array([10.0, 20.0, 40.0])
    rising, flat, early = [0.2, 0.4, 0.8], [0.1, 0.1, 0.1], [0.7, 0.9, 0.3]
    reached = tokens_to_reach(budgets, np.array([rising, flat, early]), 0.6)
    # Halfway from (20, 0.4) to (40, 0.8); never; from the first budget on.
    assert reached == pytest.approx([30.0, np.inf, 10.0], abs=1e-9)
    assert tokens_to_reach(budgets, np.array([[np.nan, 0.5, 0.5]]), 0.5) == pytest.approx([20.0], abs=1e-9)
    with pytest.raises(ValueError, match="accuracy"):
        tokens_to_reach(budgets, np.array([rising]), 0.0)
