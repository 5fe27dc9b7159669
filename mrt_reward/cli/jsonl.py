"""Traces from JSONL, leniently: unknown columns pass through, and a bad line is an error of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from mrt_reward.errors import TraceError
from mrt_reward.types import Trace
from mrt_reward.wire import TraceIn


@dataclass(frozen=True, slots=True)
class Row:
    """One line of input.

    Attributes:
        id: its own, or `line-N`; unique within the file.
        trace: None when the line could not be read as a trace; then `error` says why.
        extra: columns that are not ours.

    """

    id: str
    trace: Trace | None
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    error: TraceError | None = None


def read_rows(path: Path, *, problems: bool = False) -> Iterator[Row]:
    """Rows in file order; ids that repeat become `id#2`, `id#3` and so on.

    Args:
        path: of the file.
        problems: whether a row may lack its completion: it is then a problem, a trace without one.

    """
    seen: Counter[str] = Counter()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _row(line, number, problems=problems)
            seen[row.id] += 1
            if seen[row.id] > 1:
                unique = f"{row.id}#{seen[row.id]}"
                row = replace(row, id=unique, trace=row.trace and replace(row.trace, id=unique))
            yield row


def _row(line: str, number: int, *, problems: bool) -> Row:
    row_id = f"line-{number}"
    try:
        # NaN is no JSON: it is how pandas writes what is missing.
        record: object = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        return Row(row_id, None, error=TraceError(f"line {number} is not JSON: {error}", code="invalid_json"))
    if not isinstance(record, dict):
        got = type(record).__name__
        return Row(row_id, None, error=TraceError(f"line {number}: expected an object, got {got}", code="invalid_json"))
    columns = cast("dict[str, object]", record)
    known = {name: value for name, value in columns.items() if name in TraceIn.model_fields and value is not None}
    extra = {name: value for name, value in columns.items() if name not in TraceIn.model_fields}
    row_id = known["id"] = str(known.get("id", row_id))
    if "answer" in known:
        known["answer"] = _answers(known["answer"])
    unfinished = problems and not {"completion", "completion_ids"} & set(known)
    if unfinished:
        known["completion"] = ""
    try:
        trace = TraceIn.model_validate(known).to_trace()
        return Row(row_id, replace(trace, completion=None) if unfinished else trace, extra)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"])
        return Row(row_id, None, extra, TraceError(f"line {number}, {param or 'trace'}: {first['msg']}", param=param))
    except TraceError as error:
        return Row(row_id, None, extra, error)


def _answers(value: object) -> list[str]:
    """Gold answers as text: data sets write them as numbers as often as as strings."""
    values = cast("list[object]", value) if isinstance(value, list) else [value]
    return [str(item) for item in values]
