from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mrt_reward.evaluation.restart import UNSOLVED, restart_comparison

Floats = NDArray[np.float64]


def compare(here: Floats, later: Floats, runs: NDArray[np.bool_], below: float = np.inf) -> tuple[float, float]:
    """One budget, traces down the rows."""
    continued_1, restarted_1 = restart_comparison(here[:, None], later[:, None], runs[:, None], below=below)
    return continued_1[0], restarted_1[0]


def test_going_on_and_starting_over_worked_by_hand() -> None:
    # Three traces at t: 0.2, 0.4, 0.9; at 2t: 0.3, 0.8, 0.9. The third has ended by t.
    here, later, runs = np.array([0.2, 0.4, 0.9]), np.array([0.3, 0.8, 0.9]), np.array([True, True, False])
    # Going on: (0.3 + 0.8) / 2. Starting over: of the first (0.4 + 0.9) / 2, of the second (0.2 + 0.9) / 2.
    assert compare(here, later, runs) == pytest.approx((0.55, 0.6), abs=1e-9)
    # Among those below 0.3 only the first is left.
    assert compare(here, later, runs, below=0.3) == pytest.approx((0.3, 0.65), abs=1e-9)


def test_without_another_trace_or_a_running_one_there_is_no_comparison() -> None:
    one = compare(np.array([0.2]), np.array([0.3]), np.array([True]))
    ended = compare(np.array([0.2, 0.2]), np.array([0.2, 0.2]), np.array([False, False]), below=UNSOLVED)
    assert np.isnan([*one, *ended]).all()


def test_where_traces_add_nothing_to_each_other_both_ways_are_equal() -> None:
    # Accuracy depends on nothing: every way has it.
    same = np.full(5, 0.4)
    assert compare(same, same, np.ones(5, bool)) == pytest.approx((0.4, 0.4))
