"""Values and progress where a grader returns scores in [0, 1] instead of verdicts, such as a reward model.

Of the law of scores only its bounds are known. Its posterior is a Dirichlet process with Jeffreys' prior of verdicts,
half an answer that is wrong and half one that is right, so that scores that are all 0 or 1 get what verdicts get:

    mean score = Σ w·s over the scores and over 0 and 1,     w ~ Dirichlet(1, …, 1, ½, ½)

A bootstrap is this without the prior, and claims certainty where four scores are equal. Mean and variance of the sum
are exact; its interval is that of a Beta distribution with the same two, which for verdicts is exact as well.

Dimension key: M answers · S points with a weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.beta import beta_quantile
from mrt_reward.core.values import TAIL
from mrt_reward.types import Value

Floats = NDArray[np.float64]
Scores = Sequence[float | None]
"""Of M answers, in their order; None where one was not graded."""

_PRIOR = ((0.0, 0.5), (1.0, 0.5))
_PAIR_PRIOR = ((1.0, 0.5), (-1.0, 0.5), (0.0, 1.0))
"""Half a pair of each kind: gained, lost; both right and both wrong differ by 0."""

_POLE = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """What is known of a mean: its posterior mean and variance."""

    mean: float
    variance: float

    def minus(self, other: Spread) -> Spread:
        """Of the difference of two that are independent."""
        return Spread(self.mean - other.mean, self.variance + other.variance)

    def interval(self, lowest: float) -> tuple[float, float]:
        """Equal-tailed 95 % interval of a Beta distribution on [lowest, 1] with this mean and variance."""
        width = 1.0 - lowest
        mean = min(max((self.mean - lowest) / width, _POLE), 1 - _POLE)
        size = max(mean * (1 - mean) * width**2 / self.variance - 1, _POLE)
        ends = (beta_quantile(mean * size, (1 - mean) * size, share) for share in (TAIL, 1 - TAIL))
        low, high = (lowest + width * end for end in ends)
        return low, high


def mean_score_value(scores: Scores) -> Value:
    """Mean reward over answers; the interval reaches 0 where all scores are 0, and 1 where all are 1.

    Args:
        scores: M of them, in [0, 1].

    Returns:
        A value in [0, 1] with its scores; no value when none was graded.

    Raises:
        ValueError: a score is outside [0, 1].

    """
    known = [score for score in scores if score is not None]
    if not known:
        return Value(None, None, None, None, scores=tuple(scores))
    if not all(0 <= score <= 1 for score in known):
        raise ValueError(f"scores must be in [0, 1], got {known}")
    value, spread = math.fsum(known) / len(known), _spread(known, _PRIOR)
    low, high = spread.interval(0.0)
    low, high = 0.0 if max(known) == 0 else min(low, value), 1.0 if min(known) == 1 else max(high, value)
    return Value(value, math.sqrt(spread.variance), low, high, scores=tuple(scores))


def score_progress(before: Scores, after: Scores, *, coupled: bool) -> Spread | None:
    """Progress between two prefixes.

    Args:
        before: scores at the shorter prefix.
        after: at the longer one.
        coupled: whether answers m are drawn with the same noise, and are compared in pairs; a pair with an answer that
            was not graded is left out.

    Returns:
        None where there is nothing to compare.

    """
    if coupled:
        pairs = zip(before, after, strict=False)
        rises = [second - first for first, second in pairs if first is not None and second is not None]
        return _spread(rises, _PAIR_PRIOR) if rises else None
    known = [[score for score in scores if score is not None] for scores in (before, after)]
    if not all(known):
        return None
    first, second = (_spread(scores, _PRIOR) for scores in known)
    return second.minus(first)


def _spread(points: Sequence[float], prior: Sequence[tuple[float, float]]) -> Spread:
    """Mean and variance of Σ w·point, w Dirichlet with weight 1 for each point and the prior's for its own."""
    point_S = np.array([*points, *(point for point, _ in prior)], np.float64)
    weight_S = np.array([*np.ones(len(points)), *(weight for _, weight in prior)], np.float64)
    total = float(weight_S.sum())
    mean = float(weight_S @ point_S) / total
    square = float(weight_S @ (point_S - mean) ** 2) / total
    return Spread(mean, square / (total + 1))
