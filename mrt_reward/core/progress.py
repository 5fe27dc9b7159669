"""What each episode earned.

Dimension key: K episodes · P = K + 1 prefixes. NaN marks what is missing, and stays NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from mrt_reward.ranges import option
from mrt_reward.types import Episode, Value

Floats = NDArray[np.float64]


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


def with_progress(episodes: Sequence[Episode], values: Sequence[Value]) -> tuple[Episode, ...]:
    """The K episodes, with progress and its standard error from the K + 1 values."""
    if len(values) != len(episodes) + 1:
        raise ValueError(f"{len(episodes)} episodes need {len(episodes) + 1} values, got {len(values)}")
    progress_K = progress_rewards(_floats([value.value for value in values]))
    stderr_K = progress_stderr(_floats([value.stderr for value in values]))
    return tuple(
        replace(episode, progress=_number(progress), stderr=_number(stderr))
        for episode, progress, stderr in zip(episodes, progress_K.tolist(), stderr_K.tolist(), strict=True)
    )


def _floats(numbers: Sequence[float | None]) -> Floats:
    return np.array([np.nan if number is None else number for number in numbers], np.float64)


def _number(number: float) -> float | None:
    return None if np.isnan(number) else number
