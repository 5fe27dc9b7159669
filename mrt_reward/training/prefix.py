"""Prefix-conditioned rows (MRT-RL as published), from a dataset's columns to advantages.

A row starts from a stale prefix, and either must stop and answer or continues. Rows of one `mrt_group` are normalised
together whatever their prompt, or each is compared with the value of its prefix.

Dimension key: N rows of the batch · G rows of a group · T tokens of a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np

from mrt_reward.core.credit import outcome_advantages, termination_advantage
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import Floats
from mrt_reward.errors import TraceError
from mrt_reward.options import Delimiters
from mrt_reward.training.alignment import PolicyTokens, answer_start
from mrt_reward.training.records import Prefixed, Record, number_of
from mrt_reward.training.responses import Response


def read_prefixed(columns: Mapping[str, Any], where: str) -> Prefixed:
    """What a row of a dataset says of itself, in `mrt_group` and, where it has them, `mrt_value_prefix`, `mrt_stop`.

    Args:
        columns: of the row; others are passed over, and a value that is NaN is none.
        where: the row, for messages.

    Raises:
        TraceError: there is no group, or one of the others is not what it should be.

    """
    group, value, stop = (columns.get(name) for name in ("mrt_group", "mrt_value_prefix", "mrt_stop"))
    if group is None:
        raise TraceError(
            f"{where} has no mrt_group, which mode=prefix needs: it names the rows that are normalised together",
            param="mrt_group",
        )
    if isinstance(value, Real) and math.isnan(value):
        value = None
    if value is not None and not (isinstance(value, Real) and 0 <= float(value) <= 1):
        raise TraceError(f"{where}: mrt_value_prefix must be in [0, 1], got {value!r}", param="mrt_value_prefix")
    if stop not in (None, False, True):
        raise TraceError(f"{where}: mrt_stop must be true or false, got {stop!r}", param="mrt_stop")
    return Prefixed(number_of(group), None if value is None else float(value), bool(stop))


def trained_part(row: Prefixed, response: Response, tokens: PolicyTokens, delimiters: Delimiters) -> Prefixed:
    """The row with its first token that is trained, which is past its last where it must stop and has no answer."""
    return replace(row, start=answer_start(response, tokens, delimiters) if row.stop else 0)


def prefix_advantages(records: Sequence[Record], config: CreditConfig, *, termination: bool) -> list[Floats]:
    """Advantage of each token of each row.

    Args:
        records: one per row; those that could not be read are paid nothing.
        config: `scale_by_std`, `epsilon`, `singleton`.
        termination: compare each row with the value of its prefix instead of with its group.

    Raises:
        TraceError: a row has no value to compare with.

    """
    paid_N = np.zeros(len(records))
    groups: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        row = record.trained
        if row is not None and np.isfinite(record.outcome):
            groups.setdefault(row.group, []).append(index)
            if termination:
                paid_N[index] = termination_advantage(record.outcome, needed_value(row))
    if not termination:
        for indices in groups.values():
            paid_N[indices] = outcome_advantages(np.array([records[index].outcome for index in indices]), config)
    advantage_NT: list[Floats] = []
    for record, paid in zip(records, paid_N.tolist(), strict=True):
        advantage_T = np.full(record.num_tokens, paid)
        advantage_T[: record.row.start if record.row else 0] = 0.0
        advantage_NT.append(advantage_T)
    return advantage_NT


def needed_value(row: Prefixed) -> float:
    """J of a row's prefix, for the termination baseline.

    Raises:
        TraceError: it has none.

    """
    if row.value is None:
        raise TraceError(
            "baseline=termination needs the column mrt_value_prefix in every row: the prefix's success rate, or "
            "baseline=none to normalise each mrt_group together",
            param="mrt_value_prefix",
        )
    return row.value


def prefix_metrics(records: Sequence[Record]) -> dict[str, float]:
    """What a run on such rows logs; what was not there is left out."""
    rows = [(record, row) for record in records if (row := record.trained) is not None]
    metrics = {"mrt/failed/unsupported": float(len(records) - len(rows))} | _outcome_mean("mrt/outcome/mean", records)
    for name, stop in (("stop", True), ("continue", False)):
        here = [record for record, row in rows if row.stop is stop]
        metrics[f"mrt/prefix/{name}/rows"] = float(len(here))
        metrics |= _outcome_mean(f"mrt/prefix/{name}/outcome", here)
    values = [row.value for _, row in rows if row.value is not None]
    if values:
        metrics["mrt/prefix/value"] = float(np.mean(values))
    return metrics


def _outcome_mean(name: str, records: Sequence[Record]) -> dict[str, float]:
    known = [record.outcome for record in records if np.isfinite(record.outcome)]
    return {name: float(np.mean(known))} if known else {}
