"""What each episode earned.

Dimension key: K episodes · P = K + 1 prefixes. NaN marks what is missing, and stays NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from mrt_reward.core.credit_config import PaidValues
from mrt_reward.core.differences import ProgressUncertainty, independent, paired
from mrt_reward.core.scores import score_progress
from mrt_reward.core.values import counts_of, graded_of
from mrt_reward.ranges import option
from mrt_reward.types import Episode, ScoredTrace, Value

Floats = NDArray[np.float64]


def nan_array(numbers: Iterable[float | None]) -> Floats:
    """The numbers as an array, NaN where one is missing."""
    return np.array([np.nan if number is None else number for number in numbers], np.float64)


def values_of(trace: ScoredTrace, paid: PaidValues = "raw") -> Floats | None:
    """What a trace's credit is made of: `value_P`, NaN where one is missing; None where it was not scored at all.

    Args:
        trace: the scored trace.
        paid: `raw` values, or the means of their `posterior`, which are NaN where a value is missing.

    Raises:
        ValueError: there is no posterior; or answers were given in rounds, so that raw values are biased.

    """
    value_P = nan_array(value.value for value in trace.values)
    if not trace.values:
        return None
    if paid == "raw":
        if any(value.adaptive for value in trace.values):
            raise ValueError(f"the answers of trace {trace.id!r} were given in rounds: set paid_values to posterior")
        return value_P
    if trace.posterior is not None and len(trace.posterior.means) == len(trace.values):
        return np.array(trace.posterior.means)
    if np.isnan(value_P).any():
        return np.full(value_P.shape, np.nan)
    raise ValueError(
        f"trace {trace.id!r} has no posterior: score it with rollouts, best_of 1 and a grader of right and wrong, or "
        "set paid_values to raw"
    )


@dataclass(frozen=True, kw_only=True)
class WasteOptions:
    """Which episodes count as waste, for whoever reports on progress."""

    waste_threshold: Annotated[float, Ge(0), Le(1)] = option(
        0.02, "An episode whose progress is smaller, either way, counts as waste."
    )


def progress_rewards(value_P: Floats) -> Floats:
    """Change in the prover's success rate across each episode.

        r_prg[j] = J(z[:j + 1]) - J(z[:j])        (MRT, Definition 6.1)

    Args:
        value_P: success rates in [0, 1], shortest prefix first; NaN where one is missing.

    Returns:
        `progress_K` in [-1, 1]; NaN beside a missing value. It telescopes: the entries sum to
        `value_P[-1] - value_P[0]`.

    """
    if value_P.ndim != 1 or value_P.size == 0:
        raise ValueError(f"value_P must have shape (P,) with P >= 1, got {value_P.shape}")
    return np.diff(value_P)


def progress_stderr(stderr_P: Floats) -> Floats:
    """Standard error of each progress, for independent estimates of the values.

    s_prg[j] = √(s[j]² + s[j + 1]²)
    """
    if stderr_P.ndim != 1 or stderr_P.size == 0:
        raise ValueError(f"stderr_P must have shape (P,) with P >= 1, got {stderr_P.shape}")
    return np.hypot(stderr_P[:-1], stderr_P[1:])


def waste_mask(progress_K: Floats, threshold: float) -> NDArray[np.bool_]:
    """Which episodes are waste: |progress| below the threshold; at threshold 0, exactly zero.

    An unmeasured episode (NaN) is not waste.
    """
    if threshold == 0:
        return progress_K == 0
    return np.abs(progress_K) < threshold


def with_progress(episodes: Sequence[Episode], values: Sequence[Value], *, best_of: int = 1) -> tuple[Episode, ...]:
    """The K episodes, with progress and how sure it is, from the K + 1 values.

    Coupled answers are compared in pairs, and independent ones by their posteriors (`core.differences`,
    `core.scores`). Of values that a caller gave with no more than a standard error, that is all there is to say.

    Args:
        episodes: K of them.
        values: K + 1.
        best_of: k, where the values are of a Best-of-k prover.

    """
    if len(values) != len(episodes) + 1:
        raise ValueError(f"{len(episodes)} episodes need {len(episodes) + 1} values, got {len(values)}")
    progress_K = progress_rewards(nan_array(value.value for value in values))
    stderr_K = progress_stderr(nan_array(value.stderr for value in values))
    return tuple(
        _measured(replace(episode, progress=_number(progress), stderr=_number(stderr)), before, after, best_of)
        for episode, progress, stderr, (before, after) in zip(
            episodes, progress_K.tolist(), stderr_K.tolist(), pairwise(values), strict=True
        )
    )


def _measured(episode: Episode, before: Value, after: Value, best_of: int) -> Episode:
    if episode.progress is None:
        return episode
    if before.stderr == after.stderr == 0:
        return replace(episode, low=episode.progress, high=episode.progress)
    found = _uncertainty_of_scores(before, after) or _uncertainty(before, after, best_of)
    if found is None:
        return episode
    # Where an answer was not graded, the pairs that are left may come to another progress than the values do.
    low, high = min(found.low, episode.progress), max(found.high, episode.progress)
    return replace(episode, stderr=found.stderr, low=low, high=high)


def _uncertainty(before: Value, after: Value, best_of: int) -> ProgressUncertainty | None:
    # Values that are no rates, of an unknown k, have no law here.
    first, second = (counts_of(value) if best_of == 1 else graded_of(value) for value in (before, after))
    if first is None or second is None:
        return None
    found = None
    if before.verdicts is not None and after.verdicts is not None:
        # Answers in rounds are not equally many everywhere; those that both prefixes have are the first.
        common = min(len(before.verdicts), len(after.verdicts))
        found = paired(before.verdicts[:common], after.verdicts[:common], best_of=best_of)
    # Where no pair was graded, the answers of each prefix still tell of it.
    return found or independent(first, second, best_of)


def _uncertainty_of_scores(before: Value, after: Value) -> ProgressUncertainty | None:
    if before.scores is None or after.scores is None:
        return None
    coupled = before.verdicts is not None and after.verdicts is not None
    spread = score_progress(before.scores, after.scores, coupled=coupled)
    spread = spread or score_progress(before.scores, after.scores, coupled=False)
    return None if spread is None else ProgressUncertainty(math.sqrt(spread.variance), *spread.interval(-1.0))


def _number(number: float) -> float | None:
    return None if np.isnan(number) else number
