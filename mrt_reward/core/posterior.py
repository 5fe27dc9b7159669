"""A posterior of J along one trace: values mostly stand still and sometimes jump, so neighbours tell of each other.

J is piecewise constant: across each episode it changes with probability `change`, independently, and every stretch
without a change has a J of its own, drawn from Beta(`a`, `b`). All 2^K segmentations are summed exactly, in O(P²).

What comes out is biased towards the prior and looks ahead at later prefixes. It is not the value J, and never goes by
that name: a caller chooses which of the two is paid.

Dimension key: P = K + 1 prefixes · K episodes · G grid points. A segment [i, e) holds the prefixes i … e - 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated

import numpy as np
from annotated_types import Gt, Le, Lt
from numpy.typing import NDArray

from mrt_reward.core.values import TAIL
from mrt_reward.ranges import check_ranges

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MAX_PREFIXES = 512
"""Longest trace, in prefixes; all segments of one are held at once."""

_NUM_POINTS = 2049
_LOG_NEGLIGIBLE = 16.0
"""The grid ends where densities have fallen to e^-16 of their scale."""
_NEGLIGIBLE = 1e-6
"""Segments that are less probable do not widen the grid."""


@dataclass(frozen=True, slots=True)
class SegmentPrior:
    """What is believed of a trace's values before its answers are seen.

    Attributes:
        change: probability that J differs after an episode from before it.
        a: of J's Beta distribution on each stretch.
        b: likewise.

    Raises:
        ValueError: a field is outside its range.

    """

    change: Annotated[float, Gt(0), Lt(1)] = 0.35
    a: Annotated[float, Gt(0), Le(100)] = 0.5
    b: Annotated[float, Gt(0), Le(100)] = 0.5

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What a trace's answers say of its values, together with the prior.

    Attributes:
        mean_P: posterior mean of J, in [0, 1].
        low_P: lower end of the equal-tailed 95 % interval.
        high_P: upper end.
        unchanged_K: probability that the episode changed nothing.
        log_evidence: log-probability of the answers under the prior, in one order of each prefix's.

    """

    mean_P: Floats
    low_P: Floats
    high_P: Floats
    unchanged_K: Floats
    log_evidence: float


@dataclass(frozen=True, slots=True)
class _Segments:
    """All segments of a trace; entry [i, e] is of [i, e), and -inf or 0 where e ≤ i."""

    a_PE: Floats
    b_PE: Floats
    log_marginal_PE: Floats


def posterior(correct_P: Counts, graded_P: Counts, prior: SegmentPrior) -> Posterior:
    """Posterior of J at each prefix of one trace.

        p(answers) = Σ_segmentations Π_changes h · Π_others (1 - h) · Π_segments B(a + c, b + n - c) / B(a, b)

    Answers of different prefixes must be independent: coupled ones would be counted as if they were.

    Args:
        correct_P: answers graded correct at each prefix.
        graded_P: answers graded at all; 0 where none was, and then the neighbours alone decide.
        prior: h, a and b.

    Returns:
        See `Posterior`.

    Raises:
        ValueError: shapes differ or are not (P,) with 1 <= P <= 512, or a count is out of its range.

    """
    _check_counts(correct_P, graded_P)
    segments = _segments(correct_P, graded_P, prior)
    forward_B, backward_B = _messages(segments.log_marginal_PE, prior.change)
    log_evidence = float(forward_B[-1])
    weight_PE = np.exp(forward_B[:-1, None] + segments.log_marginal_PE + backward_B[None, :] - log_evidence)
    mean_PE = segments.a_PE / (segments.a_PE + segments.b_PE)
    low_P, high_P = _interval(weight_PE, segments)
    return Posterior(
        np.clip(_covering(weight_PE * mean_PE), 0.0, 1.0),
        low_P,
        high_P,
        np.clip(_covering(weight_PE, beyond=1), 0.0, 1.0),
        log_evidence,
    )


def fit_prior(traces: Sequence[tuple[Counts, Counts]]) -> SegmentPrior:
    """The prior of a fixed grid under which the answers of many traces are most probable (empirical Bayes).

    Args:
        traces: `correct_P` and `graded_P` of each.

    Raises:
        ValueError: there is no trace, or the counts of one are not of `posterior`.

    """
    if not traces:
        raise ValueError("expected the answers of at least one trace, got none")
    for correct_P, graded_P in traces:
        _check_counts(correct_P, graded_P)
    shapes = ((0.3, 0.3), (0.5, 0.5), (0.5, 1.0), (1.0, 0.5), (1.0, 1.0), (1.0, 2.0), (2.0, 1.0))
    changes = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
    priors = [SegmentPrior(change, a, b) for change, (a, b) in product(changes, shapes)]
    return max(priors, key=lambda prior: sum(_log_evidence(trace, prior) for trace in traces))


def _log_evidence(trace: tuple[Counts, Counts], prior: SegmentPrior) -> float:
    log_marginal_PE = _segments(*trace, prior).log_marginal_PE
    return float(_messages(log_marginal_PE, prior.change)[0][-1])


def _check_counts(correct_P: Counts, graded_P: Counts) -> None:
    if correct_P.shape != graded_P.shape or correct_P.ndim != 1 or not 1 <= correct_P.size <= MAX_PREFIXES:
        shapes = f"{correct_P.shape} and {graded_P.shape}"
        raise ValueError(f"expected correct_P and graded_P of shape (P,), 1 <= P <= {MAX_PREFIXES}, got {shapes}")
    if ((correct_P < 0) | (correct_P > graded_P)).any():
        raise ValueError(f"expected 0 <= correct <= graded, got {correct_P.tolist()} of {graded_P.tolist()}")


def _segments(correct_P: Counts, graded_P: Counts, prior: SegmentPrior) -> _Segments:
    before_B, graded_B = (np.concatenate([[0], np.cumsum(count_P)]) for count_P in (correct_P, graded_P))
    valid_PE = np.arange(correct_P.size)[:, None] < np.arange(graded_B.size)[None, :]
    correct_PE = np.where(valid_PE, before_B[None, :] - before_B[:-1, None], 0)
    graded_PE = np.where(valid_PE, graded_B[None, :] - graded_B[:-1, None], 0)
    total = int(graded_B[-1])
    log_marginal_PE = (
        _log_rising(prior.a, total)[correct_PE]
        + _log_rising(prior.b, total)[graded_PE - correct_PE]
        - _log_rising(prior.a + prior.b, total)[graded_PE]
    )
    return _Segments(
        prior.a + correct_PE,
        prior.b + graded_PE - correct_PE,
        np.where(valid_PE, log_marginal_PE + _log_unchanged(valid_PE, prior), -np.inf),
    )


def _log_unchanged(valid_PE: NDArray[np.bool_], prior: SegmentPrior) -> Floats:
    """Of the episodes within each segment, none of which changes anything."""
    start_P, end_E = (np.arange(size, dtype=np.float64) for size in valid_PE.shape)
    within_PE = end_E[None, :] - start_P[:, None] - 1
    return np.where(valid_PE, within_PE * math.log1p(-prior.change), 0.0)


def _log_rising(start: float, most: int) -> Floats:
    """Logarithm of Γ(start + k) / Γ(start) for k = 0 … most."""
    return np.concatenate([[0.0], np.cumsum(np.log(start + np.arange(most)))])


def _messages(log_marginal_PE: Floats, change: float) -> tuple[Floats, Floats]:
    """Log-probability of what lies before each bound, and of what lies after it, a change at the bound in both."""
    num_prefixes = log_marginal_PE.shape[0]
    change_B = np.full(num_prefixes + 1, math.log(change))
    change_B[0] = change_B[-1] = 0.0
    forward_B, backward_B = np.zeros(num_prefixes + 1), np.zeros(num_prefixes + 1)
    for bound in range(1, num_prefixes + 1):
        ways = forward_B[:bound] + log_marginal_PE[:bound, bound]
        forward_B[bound] = change_B[bound] + np.logaddexp.reduce(ways)
    for bound in range(num_prefixes - 1, -1, -1):
        ways = backward_B[bound + 1 :] + log_marginal_PE[bound, bound + 1 :]
        backward_B[bound] = change_B[bound] + np.logaddexp.reduce(ways)
    return forward_B, backward_B


def _covering(amount_PE: Floats, beyond: int = 0) -> Floats:
    """For each prefix j, the sum over the segments that hold it; with `beyond` 1, that hold j and j + 1 as well."""
    sum_PE = np.cumsum(amount_PE[:, ::-1], axis=1)[:, ::-1].cumsum(axis=0)
    index = np.arange(amount_PE.shape[0] - beyond, dtype=np.intp)
    return sum_PE[index, index + 1 + beyond]


def _interval(weight_PE: Floats, segments: _Segments) -> tuple[Floats, Floats]:
    """Quantiles of each prefix's mixture of Beta distributions, by sums over a grid of logit J.

    There a Beta density is x^a (1 - x)^b / B(a, b), which is smooth and falls off on both sides.
    """
    logit_G = _grid(weight_PE, segments)
    log_x_G, log_rest_G = -np.logaddexp(0, -logit_G), -np.logaddexp(0, logit_G)
    density_PG = np.zeros((weight_PE.shape[0], _NUM_POINTS))
    for i, weight_E in enumerate(weight_PE):
        log_EG = segments.a_PE[i, i + 1 :, None] * log_x_G + segments.b_PE[i, i + 1 :, None] * log_rest_G
        density_EG = np.exp(log_EG - log_EG.max(axis=1, keepdims=True))
        density_EG *= (weight_E[i + 1 :] / density_EG.sum(axis=1))[:, None]
        # The segment [i, e) tells of the prefixes i … e - 1.
        density_PG[i:] += np.cumsum(density_EG[::-1], axis=0)[::-1]
    x_G = np.exp(log_x_G)
    low_P = [_quantile(density_PG[j], x_G, TAIL) for j in range(len(density_PG))]
    high_P = [_quantile(density_PG[j], x_G, 1 - TAIL) for j in range(len(density_PG))]
    return np.array(low_P), np.array(high_P)


def _quantile(mass_G: Floats, x_G: Floats, share: float) -> float:
    below_G: Floats = np.cumsum(mass_G) - mass_G / 2
    return float(np.interp(share * float(mass_G.sum()), below_G, x_G))


def _grid(weight_PE: Floats, segments: _Segments) -> Floats:
    """Points of logit J, evenly spaced, that reach as far as any probable segment's density does."""
    probable = weight_PE > _NEGLIGIBLE
    a_N, b_N = segments.a_PE[probable], segments.b_PE[probable]
    spread_N = np.sqrt(2 * _LOG_NEGLIGIBLE * (1 / a_N + 1 / b_N))
    low = np.min(np.log(a_N / b_N) - spread_N - _LOG_NEGLIGIBLE / a_N)
    high = np.max(np.log(a_N / b_N) + spread_N + _LOG_NEGLIGIBLE / b_N)
    return np.linspace(low, high, _NUM_POINTS)
