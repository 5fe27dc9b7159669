"""Progress from coupled answers: answer m of one prefix and answer m of the next are drawn with the same noise.

What both get right or wrong cancels, so progress is told by the pairs that differ. The sample variance of such pairs
is 0 where they all agree, which would claim certainty from four answers; a posterior does not.

Dimension key: M pairs · N points of a grid.
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
"""Of each of the four kinds of pairs: Jeffreys' prior."""

_NUM_POINTS = 256
_NUM_DEVIATIONS = 8.0


@dataclass(frozen=True, slots=True)
class PairedProgress:
    """Progress of one episode, from pairs.

    Attributes:
        progress: gained minus lost, as shares of the pairs; in [-1, 1].
        stderr: standard deviation of the posterior.
        low: lower end of the equal-tailed 95 % interval, widened to hold `progress`.
        high: upper end, likewise.

    """

    progress: float
    stderr: float
    low: float
    high: float


def paired_progress(before: Sequence[Verdict], after: Sequence[Verdict]) -> PairedProgress | None:
    """Progress between two prefixes whose answers are coupled, m by m.

        (both, gained, lost, neither) ~ Dirichlet(½ + counts),   progress = gained - lost

    UNPARSED is a miss. A pair with an UNGRADED answer is left out, whichever of the two it is.

    Args:
        before: M verdicts at the shorter prefix.
        after: M verdicts at the longer one, in the same order.

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
    progress = (gained - lost) / len(pairs)
    stderr, low, high = _law(gained, lost, len(pairs) - gained - lost)
    return PairedProgress(progress, stderr, min(low, progress), max(high, progress))


@lru_cache(maxsize=4096)
def _law(gained: int, lost: int, same: int) -> tuple[float, float, float]:
    """Standard deviation and 95 % interval of gained - lost under its posterior.

    With (gained, lost, rest) Dirichlet(a, b, c) the difference is S·(2B - 1), where S ~ Beta(a + b, c) and
    B ~ Beta(a, b) are independent: two grids give its law.
    """
    a, b, c = gained + PRIOR, lost + PRIOR, same + 2 * PRIOR
    size_N, size_weight_N = _beta_points(a + b, c)
    share_N, share_weight_N = _beta_points(a, b)
    difference_N = np.outer(size_N, 2 * share_N - 1).ravel()
    weight_N = np.outer(size_weight_N, share_weight_N).ravel()
    order = np.argsort(difference_N, kind="stable")
    below_N = np.cumsum(weight_N[order]) - weight_N[order] / 2
    mean = (a - b) / (a + b + c)
    square = (a * (a + 1) + b * (b + 1) - 2 * a * b) / ((a + b + c) * (a + b + c + 1))
    low, high = (float(np.interp(share, below_N, difference_N[order])) for share in (TAIL, 1 - TAIL))
    return math.sqrt(square - mean**2), low, high


def _beta_points(a: float, b: float) -> tuple[Floats, Floats]:
    """Points of Beta(a, b) and their probabilities, evenly spaced in the angle φ with x = sin² φ, a and b at least ½.

    In φ the density has no pole, and is about as wide as that of a normal law of standard deviation 1 / (2 √(a + b)).
    """
    middle = math.atan2(math.sqrt(a), math.sqrt(b))
    reach = _NUM_DEVIATIONS / (2 * math.sqrt(a + b))
    low, high = max(0.0, middle - reach), min(math.pi / 2, middle + reach)
    angle_N = low + (high - low) * (np.arange(_NUM_POINTS) + 0.5) / _NUM_POINTS
    log_N = (2 * a - 1) * np.log(np.sin(angle_N)) + (2 * b - 1) * np.log(np.cos(angle_N))
    density_N = np.exp(log_N - log_N.max())
    return np.sin(angle_N) ** 2, density_N / density_N.sum()
