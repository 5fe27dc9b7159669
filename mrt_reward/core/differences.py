"""How sure progress is: the law of J[j + 1] - J[j], given the answers to the two prefixes.

Coupled answers, m by m drawn with the same noise, are compared in pairs: what both get right or wrong cancels, and the
pairs that differ tell. Their sample variance is 0 where all agree, which would claim certainty from four answers; a
posterior does not. Answers that are independent have a Beta posterior at each prefix. Of a Best-of-k prover, whose J is
1 - (1 - p)^k, the same posteriors are carried through that.

Dimension key: M answers · N points of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.values import TAIL
from mrt_reward.types import Verdict

Floats = NDArray[np.float64]

PRIOR = 0.5
"""Jeffreys' prior: of each of the four kinds of pairs, and of right and wrong answers."""

_NUM_POINTS = 256
_NUM_POINTS_OF_THREE = 32
"""Of each of three variables, whose product would be too large a grid."""

_NUM_DEVIATIONS = 8.0


@dataclass(frozen=True, slots=True)
class ProgressUncertainty:
    """How sure one progress is.

    Attributes:
        stderr: standard deviation of its posterior.
        low: lower end of the equal-tailed 95 % interval, widened to hold the progress itself where k is 1; in [-1, 1].
        high: upper end, likewise.

    """

    stderr: float
    low: float
    high: float


def paired(before: Sequence[Verdict], after: Sequence[Verdict], *, best_of: int = 1) -> ProgressUncertainty | None:
    """Progress between two prefixes whose answers are coupled, m by m.

        (both, gained, lost, neither) ~ Dirichlet(½ + counts),   progress = gained - lost

    UNPARSED is a miss. A pair with an UNGRADED answer is left out, whichever of the two it is.

    Args:
        before: M verdicts at the shorter prefix.
        after: M verdicts at the longer one, in the same order.
        best_of: k of best-of-k; 1 is the plain success rate.

    Returns:
        None where no pair was graded.

    Raises:
        ValueError: the two are not equally many.

    """
    if len(before) != len(after):
        raise ValueError(f"expected as many answers before as after, got {len(before)} and {len(after)}")
    pairs = [
        (first is Verdict.CORRECT, second is Verdict.CORRECT)
        for first, second in zip(before, after, strict=True)
        if Verdict.UNGRADED not in (first, second)
    ]
    if not pairs:
        return None
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    if best_of > 1:
        return _paired_best_law((gained, lost, pairs.count((True, True)), pairs.count((False, False))), best_of)
    return _paired_law(gained, lost, len(pairs) - gained - lost)


@lru_cache(maxsize=4096)
def independent(before: tuple[int, int], after: tuple[int, int], best_of: int = 1) -> ProgressUncertainty:
    """Progress between two prefixes whose answers are independent.

        J[j] ~ Beta(½ + correct, ½ + graded - correct)

    Args:
        before: answers that were right, and answers that were graded, at the shorter prefix; at least one of these.
        after: at the longer one.
        best_of: k of best-of-k; 1 is the plain success rate.

    """
    (right_0, graded_0), (right_1, graded_1) = before, after
    x_N, x_weight_N = _beta_points(right_0 + PRIOR, graded_0 - right_0 + PRIOR)
    y_N, y_weight_N = _beta_points(right_1 + PRIOR, graded_1 - right_1 + PRIOR)
    x_N, y_N = (1 - (1 - point_N) ** best_of for point_N in (x_N, y_N))
    stderr = math.sqrt(_variance(x_N, x_weight_N) + _variance(y_N, y_weight_N))
    difference_N = np.subtract.outer(y_N, x_N).ravel()
    progress = right_1 / graded_1 - right_0 / graded_0 if best_of == 1 else None
    return _law(difference_N, np.outer(y_weight_N, x_weight_N).ravel(), stderr, progress)


@lru_cache(maxsize=4096)
def _paired_law(gained: int, lost: int, same: int) -> ProgressUncertainty:
    """Of gained - lost.

    With (gained, lost, rest) Dirichlet(a, b, c) the difference is S·(2B - 1), where S ~ Beta(a + b, c) and
    B ~ Beta(a, b) are independent.
    """
    a, b, c = gained + PRIOR, lost + PRIOR, same + 2 * PRIOR
    size_N, size_weight_N = _beta_points(a + b, c)
    share_N, share_weight_N = _beta_points(a, b)
    mean = (a - b) / (a + b + c)
    square = (a * (a + 1) + b * (b + 1) - 2 * a * b) / ((a + b + c) * (a + b + c + 1))
    difference_N = np.outer(size_N, 2 * share_N - 1).ravel()
    weight_N = np.outer(size_weight_N, share_weight_N).ravel()
    return _law(difference_N, weight_N, math.sqrt(square - mean**2), (gained - lost) / (gained + lost + same))


@lru_cache(maxsize=4096)
def _paired_best_law(pairs: tuple[int, int, int, int], best_of: int) -> ProgressUncertainty:
    """Of the rise of 1 - (1 - p)^k, from pairs that gained, lost, were right twice and were wrong twice.

    Beside S and B as above, of what does not differ the share U ~ Beta(both, neither) is right.
    """
    a, b, both, neither = (count + PRIOR for count in pairs)
    num = _NUM_POINTS_OF_THREE
    size_N, size_weight_N = _beta_points(a + b, both + neither, num)
    gain_N, gain_weight_N = _beta_points(a, b, num)
    right_N, right_weight_N = _beta_points(both, neither, num)
    size, gain, right = np.meshgrid(size_N, gain_N, right_N, indexing="ij", sparse=True)
    missed_0 = 1 - (1 - size) * right - size * (1 - gain)
    missed_1 = 1 - (1 - size) * right - size * gain
    difference_N = (missed_0**best_of - missed_1**best_of).ravel()
    weight_N = np.einsum("i,j,k->ijk", size_weight_N, gain_weight_N, right_weight_N).ravel()
    return _law(difference_N, weight_N, math.sqrt(_variance(difference_N, weight_N)))


def _law(difference_N: Floats, weight_N: Floats, stderr: float, progress: float | None = None) -> ProgressUncertainty:
    order = np.argsort(difference_N, kind="stable")
    below_N = np.cumsum(weight_N[order]) - weight_N[order] / 2
    low, high = (float(np.interp(share, below_N, difference_N[order])) for share in (TAIL, 1 - TAIL))
    if progress is not None:
        low, high = min(low, progress), max(high, progress)
    return ProgressUncertainty(stderr, low, high)


def _beta_points(a: float, b: float, num_points: int = _NUM_POINTS) -> tuple[Floats, Floats]:
    """Points of Beta(a, b) and their probabilities, evenly spaced in the angle φ with x = sin² φ, a and b at least ½.

    In φ the density has no pole, and is about as wide as that of a normal law of standard deviation 1 / (2 √(a + b)).
    """
    middle = math.atan2(math.sqrt(a), math.sqrt(b))
    reach = _NUM_DEVIATIONS / (2 * math.sqrt(a + b))
    low, high = max(0.0, middle - reach), min(math.pi / 2, middle + reach)
    angle_N = low + (high - low) * (np.arange(num_points) + 0.5) / num_points
    log_N = (2 * a - 1) * np.log(np.sin(angle_N)) + (2 * b - 1) * np.log(np.cos(angle_N))
    density_N = np.exp(log_N - log_N.max())
    return np.sin(angle_N) ** 2, density_N / density_N.sum()


def _variance(x_N: Floats, weight_N: Floats) -> float:
    mean = float(x_N @ weight_N)
    return float((x_N - mean) ** 2 @ weight_N)
