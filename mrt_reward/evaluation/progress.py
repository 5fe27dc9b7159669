"""Where in a trace progress was made, and where none was.

Dimension key: K episodes · P = K + 1 prefixes · H bins of a histogram.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.progress import waste_mask

Floats = NDArray[np.float64]

BIN_EDGES = np.round(np.linspace(-1.05, 1.05, 22), 2)
"""Edges of the histogram of progress: 21 bins of width 0.1, the middle one around zero."""

NUM_QUARTERS = 4

SOLVED = 0.9
"""Value from which a trace counts as solved: what it thinks after that, it did not need."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of a trace's measured episodes: what share earned nothing, cost something, earned something.

    Attributes:
        zero: |progress| below the threshold.
        negative: progress at or below minus the threshold.
        positive: at or above it.

    """

    zero: float
    negative: float
    positive: float


def progress_shares(progress_K: Floats, threshold: float) -> Shares:
    """Shares of episodes by what they earned; they sum to 1. NaN without a measured episode."""
    known_N = progress_K[~np.isnan(progress_K)]
    if known_N.size == 0:
        return Shares(np.nan, np.nan, np.nan)
    zero = waste_mask(known_N, threshold)
    num_zero, num_negative = int(np.count_nonzero(zero)), int(np.count_nonzero(~zero & (known_N < 0)))
    num_positive = known_N.size - num_zero - num_negative
    return Shares(num_zero / known_N.size, num_negative / known_N.size, num_positive / known_N.size)


def progress_histogram(progress_K: Floats) -> Floats:
    """Share of a trace's measured episodes in each bin of `BIN_EDGES`; NaN throughout without one.

    Returns:
        `share_H`, which sums to 1.

    """
    known_N = progress_K[~np.isnan(progress_K)]
    if known_N.size == 0:
        return np.full(BIN_EDGES.size - 1, np.nan)
    # Sums of decimals are not decimals: 0.3 - 0.25 must not fall below the edge that it lies on.
    bin_N = np.searchsorted(BIN_EDGES, np.round(known_N, 9), side="right") - 1
    return np.bincount(bin_N, minlength=BIN_EDGES.size - 1) / known_N.size


def quarter_gains(token_P: Floats, value_P: Floats) -> Floats:
    """Progress made in each quarter of a trace's thinking, by tokens; values are linear between prefixes.

    The four sum to J[K] - J[0]. Is there still progress late, or only early?

    Args:
        token_P: tokens of the prefixes, increasing.
        value_P: their values.

    Returns:
        `gain_4`; NaN throughout if a value is missing or nothing was thought.

    """
    if value_P.size < 2 or np.isnan(value_P).any() or token_P[-1] <= token_P[0]:
        return np.full(NUM_QUARTERS, np.nan)
    at = np.linspace(float(token_P[0]), float(token_P[-1]), NUM_QUARTERS + 1)
    value_5 = np.interp(at, token_P, value_P)
    return value_5[1:] - value_5[:-1]


def needless_share(token_P: Floats, value_P: Floats) -> float:
    """Share of a trace's thinking tokens that come after the first prefix whose value is at least `SOLVED`.

    Returns:
        In [0, 1]; 0 for a trace that never got there; NaN if a value is missing or nothing was thought.

    """
    if value_P.size < 2 or np.isnan(value_P).any() or token_P[-1] <= token_P[0]:
        return float("nan")
    solved = np.flatnonzero(value_P >= SOLVED)
    if solved.size == 0:
        return 0.0
    return float((token_P[-1] - token_P[solved[0]]) / (token_P[-1] - token_P[0]))
