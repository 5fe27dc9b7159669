"""Prefix-conditioned rows (MRT-RL as published), from a dataset's columns to advantages.

A row starts from a stale prefix, and either must stop and answer or continues. Rows of one `mrt_group` are normalised
together whatever their prompt, or each is compared with the value of its prefix. Two marks carry that over the one
float32 per token that a framework hands on (`marks`):

    2^-(90 + g % 32)·(1 + g // 32 / 2^23)    on the first token: the group, as a number of 28 bits
    -2^-(70 + tag)·(1 + value / 2)           on the second, or on the first that is trained

Dimension key: N rows of the batch · G rows of a group · T tokens of a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.credit import CreditConfig, Floats, outcome_advantages, termination_advantage
from mrt_reward.errors import TraceError
from mrt_reward.training.marks import Mark, marked_number, number_mark

_GROUP_EXPONENT, _VALUE_EXPONENT = 90, 70


@dataclass(frozen=True, slots=True)
class Prefixed:
    """A row that starts from a prefix.

    Attributes:
        group: which rows are normalised together; `number_of` the dataset's name for it (`marks`).
        value: J of the prefix; None where the dataset has none.
        stop: whether it had to stop and answer.
        start: first token that is trained: of the answer in a row that stops, and otherwise 0.

    """

    group: int
    value: float | None = None
    stop: bool = False
    start: int = 0


@dataclass(frozen=True, slots=True)
class PrefixReading:
    """What a row of token rewards says; `row` is None where it is too short to say it."""

    outcome: float
    num_tokens: int
    row: Prefixed | None


def encode_prefixed(row: Prefixed, num_tokens: int) -> list[Mark]:
    """Marks of a row; none if it is too short for them, and then it is left out.

    Raises:
        TraceError: the value is no success rate.

    """
    place = max(row.start, 1)
    if place > num_tokens - 2:
        return []
    if row.value is not None and not 0 <= row.value <= 1:
        raise TraceError(f"mrt_value_prefix must be in [0, 1], got {row.value}", param="mrt_value_prefix")
    tag = row.stop + 2 * (row.value is None) + 4 * (row.start > 0)
    group = number_mark(row.group, _GROUP_EXPONENT)
    return [(0, group), (place, -math.ldexp(1.0 + (row.value or 0.0) / 2, -_VALUE_EXPONENT - tag))]


def decode_prefixed(reward_T: NDArray[np.floating]) -> PrefixReading:
    """What a row says; `reward_T` ends with the response's last token, where the outcome is."""
    outcome, num_tokens = float(reward_T[-1]), len(reward_T)
    places = np.flatnonzero(reward_T[:-1]).tolist()
    if len(places) != 2 or places[0] != 0 or not reward_T[places[1]] < 0 < reward_T[0]:
        return PrefixReading(outcome, num_tokens, None)
    group = marked_number(float(reward_T[0]), _GROUP_EXPONENT)
    mantissa, exponent = math.frexp(-float(reward_T[places[1]]))
    tag = 1 - exponent - _VALUE_EXPONENT
    value = None if tag & 2 else 4 * mantissa - 2
    return PrefixReading(outcome, num_tokens, Prefixed(group, value, bool(tag & 1), places[1] if tag & 4 else 0))


def prefix_advantages(readings: Sequence[PrefixReading], config: CreditConfig, *, termination: bool) -> list[Floats]:
    """Advantage of each token of each row.

    Args:
        readings: one per row; those that could not be read are paid nothing.
        config: `scale_by_std`, `epsilon`, `singleton`.
        termination: compare each row with the value of its prefix instead of with its group.

    Raises:
        TraceError: a row has no value to compare with.

    """
    paid_N = np.zeros(len(readings))
    groups: dict[int, list[int]] = {}
    for place, reading in enumerate(readings):
        if reading.row is not None and np.isfinite(reading.outcome):
            groups.setdefault(reading.row.group, []).append(place)
            if termination:
                if reading.row.value is None:
                    raise TraceError(
                        "baseline=termination needs the column mrt_value_prefix in every row: the prefix's success "
                        "rate, or baseline=none to normalise each mrt_group together",
                        param="mrt_value_prefix",
                    )
                paid_N[place] = termination_advantage(reading.outcome, reading.row.value)
    if not termination:
        for places in groups.values():
            paid_N[places] = outcome_advantages(np.array([readings[place].outcome for place in places]), config)
    advantage_NT: list[Floats] = []
    for reading, paid in zip(readings, paid_N.tolist(), strict=True):
        advantage_T = np.full(reading.num_tokens, paid)
        advantage_T[: reading.row.start if reading.row else 0] = 0.0
        advantage_NT.append(advantage_T)
    return advantage_NT


def prefix_metrics(readings: Sequence[PrefixReading]) -> dict[str, float]:
    """What a run on such rows logs; what was not there is left out."""
    read = [reading for reading in readings if reading.row is not None]
    metrics = {"mrt/failed/unsupported": float(len(readings) - len(read))} | _outcome_mean("mrt/outcome/mean", readings)
    for name, stop in (("stop", True), ("continue", False)):
        here = [reading for reading in read if reading.row and reading.row.stop is stop]
        metrics[f"mrt/prefix/{name}/rows"] = float(len(here))
        metrics |= _outcome_mean(f"mrt/prefix/{name}/outcome", here)
    values = [reading.row.value for reading in read if reading.row and reading.row.value is not None]
    if values:
        metrics["mrt/prefix/value"] = float(np.mean(values))
    return metrics


def _outcome_mean(name: str, readings: Sequence[PrefixReading]) -> dict[str, float]:
    known = [reading.outcome for reading in readings if np.isfinite(reading.outcome)]
    return {name: float(np.mean(known))} if known else {}
