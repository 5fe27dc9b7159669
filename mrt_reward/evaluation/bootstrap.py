"""Means over problems with 95 % intervals, by resampling problems.

Traces of one problem are not independent, so problems are what is drawn. Everything that one resample compares, such as
two models or two budgets, uses the same draw, which makes differences paired.

Dimension key: N problems · Q quantities · R resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_RESAMPLES = 2000
TAIL = 0.025
"""Probability outside a 95 % interval, on each side."""

_MAX_CELLS = 20_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems and what it rests on.

    Attributes:
        value: None where nothing was measured, or where a target was not reached.
        low: lower end of the 95 % interval; None where fewer than two problems were measured.
        high: upper end; None there too, and where it is infinite.
        problems: that were measured.
        traces: behind them.

    """

    value: float | None
    low: float | None
    high: float | None
    problems: int
    traces: int


@dataclass(frozen=True, slots=True)
class CurveSummary:
    """A curve with its interval at each point.

    Attributes:
        x: tokens, or what the curve's name says.
        points: estimates over problems, one for each x.

    """

    x: tuple[float, ...]
    points: tuple[Estimate, ...]


def resample_counts(num_problems: int, *, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> NDArray[np.int32]:
    """How often each problem is in each resample: draws with replacement, as many as there are problems.

    Returns:
        `count_RN`; every row sums to N.

    """
    if num_problems < 1 or num_resamples < 1:
        raise ValueError(f"expected at least one problem and one resample, got {num_problems} and {num_resamples}")
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_problems, np.full(num_problems, 1 / num_problems), num_resamples).astype(np.int32)


def resampled_means(value_NQ: Floats, count_RN: NDArray[np.int32]) -> Floats:
    """Mean over the problems of each resample; a problem without a quantity (NaN) is left out of its mean.

    Returns:
        `mean_RQ`; NaN where a resample holds no problem with the quantity.

    """
    known_NQ = ~np.isnan(value_NQ)
    filled_NQ = np.where(known_NQ, value_NQ, 0.0)
    complete = bool(known_NQ.all())
    num_rows = max(1, _MAX_CELLS // max(count_RN.shape[1], 1))
    parts: list[Floats] = []
    for start in range(0, len(count_RN), num_rows):
        count = count_RN[start : start + num_rows].astype(np.float64)
        total = count @ filled_NQ
        weight = count.sum(axis=1, keepdims=True) if complete else count @ known_NQ.astype(np.float64)
        parts.append(_ratio(total, weight))
    return np.concatenate(parts)


def mean_of_known(value_NQ: Floats) -> Floats:
    """Mean of each quantity over those that have it, such as problems; NaN where none has."""
    known_NQ = ~np.isnan(value_NQ)
    total_Q = np.where(known_NQ, value_NQ, 0.0).sum(axis=0)
    num_Q = known_NQ.sum(axis=0)
    return _ratio(total_Q, num_Q)


def interval(sample_RQ: Floats) -> tuple[Floats, Floats]:
    """Percentiles 2.5 and 97.5 of each quantity over resamples; those that lack it (NaN) are left out.

    Infinite samples are kept: a bound that is infinite says that some resamples never got there.
    """
    if sample_RQ.size == 0 or np.isnan(sample_RQ).all():
        missing_Q: Floats = np.full((sample_RQ.shape[1],), np.nan)
        return missing_Q, missing_Q
    ordered_RQ: Floats = np.sort(sample_RQ, axis=0)  # NaN last
    num_Q = (~np.isnan(ordered_RQ)).sum(axis=0)
    # Whole order statistics, because nothing can be interpolated between a number and infinity.
    low_Q = np.floor(TAIL * np.maximum(num_Q - 1, 0)).astype(np.intp)
    high_Q = np.ceil((1 - TAIL) * np.maximum(num_Q - 1, 0)).astype(np.intp)
    return _row_of_each(ordered_RQ, low_Q), _row_of_each(ordered_RQ, high_Q)


def _row_of_each(array_RQ: Floats, row_Q: NDArray[np.intp]) -> Floats:
    return array_RQ[row_Q, np.arange(array_RQ.shape[1], dtype=np.intp)]


def ratio_of_sums(part_N2: Floats, count_RN: NDArray[np.int32]) -> tuple[float, Floats]:
    """Sum of the first column over sum of the second: over all problems, and `ratio_R` over those of each resample."""
    total_R2 = count_RN.astype(np.float64) @ part_N2
    whole_12 = part_N2.sum(axis=0)[None, :]
    return float(_ratio(whole_12[:, 0], whole_12[:, 1])[0]), _ratio(total_R2[:, 0], total_R2[:, 1])


def estimate(value: float, sample_R: Floats, *, problems: int, traces: int) -> Estimate:
    """One number with its interval from resamples."""
    low_Q, high_Q = interval(sample_R[:, None])
    defined = problems >= 2
    return Estimate(
        _finite(value),
        _finite(low_Q[0]) if defined else None,
        _finite(high_Q[0]) if defined else None,
        problems,
        traces,
    )


def estimates(value_NQ: Floats, trace_N: NDArray[np.int64], count_RN: NDArray[np.int32]) -> list[Estimate]:
    """Each quantity's mean over problems, with its interval.

    Args:
        value_NQ: problem by problem; NaN where a problem lacks a quantity.
        trace_N: traces behind each problem.
        count_RN: from `resample_counts`.

    """
    mean_Q = mean_of_known(value_NQ)
    low_Q, high_Q = interval(resampled_means(value_NQ, count_RN))
    known_NQ = ~np.isnan(value_NQ)
    problem_Q, trace_Q = known_NQ.sum(axis=0), trace_N @ known_NQ
    return [
        Estimate(
            _finite(mean_Q[q]),
            _finite(low_Q[q]) if problem_Q[q] >= 2 else None,
            _finite(high_Q[q]) if problem_Q[q] >= 2 else None,
            int(problem_Q[q]),
            int(trace_Q[q]),
        )
        for q in range(value_NQ.shape[1])
    ]


def _ratio(total: Floats, weight: NDArray[Any]) -> Floats:
    """NaN where the weight is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 0, total / weight, np.nan)


def _finite(number: float | np.float64) -> float | None:
    return float(number) if np.isfinite(number) else None
