"""Scored traces made by hand, as records and as the lines that `mrt-reward score` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrt_reward.core.progress import with_progress
from mrt_reward.evaluation.result import Result
from mrt_reward.types import Episode, ScoredTrace, Status, Trace, Value
from mrt_reward.wire import scored_fields, trace_fields

ENDING = "</think>\n\nThe final answer is \\boxed{42}"


def value(number: float | None, half: float = 0.0) -> Value:
    """A value with an interval of ± half, and a standard error of a half of that."""
    if number is None:
        return Value(None, None, None, None)
    return Value(number, half / 2, max(number - half, 0.0), min(number + half, 1.0))


def scored(
    name: str,
    thoughts: Sequence[str],
    values: Sequence[float | Value | None],
    *,
    outcome: float | None = 1.0,
    ending: str = ENDING,
    **more: Any,
) -> Result:
    """A trace whose episodes are the given texts, one token a character."""
    opener = more.pop("opener", "")
    start = len(opener)
    ends = [start + len("".join(thoughts[: j + 1])) for j in range(len(thoughts))]
    starts = [start, *ends[:-1]]
    measured = [each if isinstance(each, Value) else value(each) for each in values]
    bare = [Episode(at, end, at, end) for at, end in zip(starts, ends, strict=True)]
    fields: dict[str, Any] = {"problem": "6 times 7?", "answer": ("42",), **more}
    trace = Trace(name, completion=f"{opener}{''.join(thoughts)}{ending}", **fields)
    measures = ScoredTrace(
        name,
        Status.PARTIAL if any(each.value is None for each in measured) else Status.OK,
        outcome=outcome,
        values=tuple(measured),
        episodes=with_progress(bare, measured),
        prover="m@1",
    )
    return Result((trace, measures))


def line(trace: Result, **changes: Any) -> dict[str, Any]:
    """What `mrt-reward score` writes for it."""
    record = scored_fields(trace.scored)
    reported = {name: value for name, value in trace_fields(trace.trace).items() if name not in ("id", "metadata")}
    return {**record, "trace": reported, **changes}


def write(path: Path, *rows: object) -> Path:
    """One row a line; text as it is."""
    path.write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(row) for row in path.read_text().splitlines()]
