"""Accuracy against budget, and what is read off it.

A curve is piecewise linear through (0, 0) and its points, and constant after the last one, as in `core.regret`; here
many budgets are read at once.

Dimension key: N points of a curve · B budgets · R resamples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.regret import accuracy_at

Floats = NDArray[np.float64]

FIRST_OCTAVE, LAST_OCTAVE, PER_OCTAVE = 4, 20, 8


def budget_grid(*budgets: float) -> Floats:
    """Budgets at which curves are averaged: 16 to 1,048,576 tokens, eight to the octave, and the given ones.

    A fixed grid lets traces be averaged as they come, whatever their lengths.

    Returns:
        `budget_B`, increasing.

    """
    steps = np.arange(FIRST_OCTAVE * PER_OCTAVE, LAST_OCTAVE * PER_OCTAVE + 1) / PER_OCTAVE
    return np.unique(np.append(np.round(2.0**steps), np.array(budgets, np.float64)))


def accuracy_curve(token_N: Floats, value_N: Floats, budget_B: Floats) -> Floats:
    """Accuracy at each budget; `core.regret.accuracy_at`, and NaN throughout if the trace has no complete curve.

    Returns:
        `accuracy_B` in [0, 1].

    """
    return accuracy_curves(token_N[None], value_N[None], budget_B)[0]


def accuracy_curves(token_SN: Floats, value_SN: Floats, budget_B: Floats) -> Floats:
    """`accuracy_curve` of each row, `accuracy_SB`."""
    num_rows, num_points = token_SN.shape
    accuracy_SB = np.full((num_rows, budget_B.size), np.nan)
    if num_points == 0:
        return accuracy_SB
    curve_2SN = np.zeros((2, num_rows, num_points + 1))
    curve_2SN[0, :, 1:], curve_2SN[1, :, 1:] = token_SN, value_SN
    complete_S = ~np.isnan(curve_2SN).any(axis=(0, 2))
    # Between points in order one call reads the whole line; only jumps and disorder need more care.
    in_order_S: NDArray[np.bool_] = np.diff(curve_2SN[0], axis=1).min(axis=1) > 0
    for s in np.flatnonzero(complete_S):
        accuracy_SB[s] = (
            np.interp(budget_B, curve_2SN[0, s], curve_2SN[1, s])
            if in_order_S[s]
            else accuracy_at(token_SN[s], value_SN[s], budget_B)
        )
    return accuracy_SB


def tokens_to_reach(budget_B: Floats, accuracy_RB: Floats, target: float) -> Floats:
    """Fewest tokens at which each curve is at the target, linear between the budgets.

    Args:
        budget_B: increasing.
        accuracy_RB: curves over them; NaN is a budget at which nothing is known.
        target: accuracy in (0, 1].

    Returns:
        `token_R`; infinite where the target is not reached, and the first budget where it is reached from the start.

    """
    if not 0 < target <= 1:
        raise ValueError(f"target must be an accuracy in (0, 1], got {target}")
    # Averages of ones may fall short of one by rounding.
    reached_RB = accuracy_RB >= target - 1e-12
    first_R = reached_RB.argmax(axis=1)
    row_R = np.arange(len(first_R))
    before_R = np.maximum(first_R - 1, 0)
    low_R, high_R = accuracy_RB[row_R, before_R], accuracy_RB[row_R, first_R]
    rise_R = high_R - low_R
    share_R = np.divide(target - low_R, rise_R, out=np.ones_like(rise_R), where=rise_R > 0)
    token_R = budget_B[before_R] + np.minimum(share_R, 1.0) * (budget_B[first_R] - budget_B[before_R])
    return np.where(reached_RB.any(axis=1), token_R, np.inf)
