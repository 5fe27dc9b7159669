"""Traces from JSONL, leniently: unknown columns pass through, and a bad line is an error of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import jiter
from pydantic import ValidationError

from mrt_reward.errors import TraceError
from mrt_reward.golds import golds_of
from mrt_reward.mistakes import mistakes
from mrt_reward.types import Trace
from mrt_reward.wire import TRACE_FIELDS, sound_trace


@dataclass(frozen=True, slots=True)
class FileRow:
    """One line of input.

    Attributes:
        id: its own, or `line-N`; unique within the file.
        trace: None when the line could not be read as a trace; then `error` says why.
        extra: columns that are not ours.
        named: columns of ours that the line has.
        repeats: whether an earlier row has the id that stands in the file.

    """

    id: str
    trace: Trace | None
    extra: Mapping[str, object] = field(default_factory=dict[str, object])
    error: TraceError | None = None
    repeats: bool = False
    named: frozenset[str] = frozenset()


def read_rows(path: Path, renames: Mapping[str, str] | None = None, *, problems: bool = False) -> Iterator[FileRow]:
    """Rows in file order; ids that repeat become `id#2`, `id#3` and so on. A byte order mark at the start is dropped.

    Args:
        path: of the file.
        renames: the file's columns that have other names than ours, and ours.
        problems: whether a row may lack its completion: it is then a problem, a trace without one.

    """
    seen: Counter[str] = Counter()
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _row(line, number, renames or {}, problems=problems)
            seen[row.id] += 1
            if seen[row.id] > 1:
                while (unique := f"{row.id}#{seen[row.id]}") in seen:
                    seen[row.id] += 1
                seen[unique] += 1  # which a later row may have as its own
                row = replace(row, id=unique, trace=row.trace and replace(row.trace, id=unique), repeats=True)
            yield row


def _row(line: str, number: int, renames: Mapping[str, str], *, problems: bool) -> FileRow:
    row_id = f"line-{number}"
    try:
        record = _parsed(line)
    except UnicodeEncodeError as error:
        what = f"line {number} is not UTF-8 (at character {error.start}): write the file as UTF-8"
        return FileRow(row_id, None, error=TraceError(what, code="invalid_json"))
    except ValueError as error:
        # The parser has seen one line, and counts it.
        what = f"line {number} is not JSON: {str(error).replace(' at line 1 column', ' at column')}"
        return FileRow(row_id, None, error=TraceError(what, code="invalid_json"))
    if not isinstance(record, dict):
        what = f"line {number}: expected an object, got {type(record).__name__}"
        if isinstance(record, list):
            what += " (of a JSON array, write one object a line: jq -c '.[]' array.json)"
        return FileRow(row_id, None, error=TraceError(what, code="invalid_json"))
    theirs = cast("dict[str, object]", record)
    if both := [ours for name, ours in renames.items() if name in theirs and ours in theirs]:
        what = f"line {number} has a column {both[0]} of its own: leave it out of --map"
        return FileRow(row_id, None, error=TraceError(what, param=both[0]))
    written = {renames.get(name, name): value for name, value in theirs.items()}
    answer = _with_floats(written.get("answer"), jiter.LosslessFloat.as_decimal)
    columns = cast("dict[str, object]", _with_floats(written, _double))
    known = {name: value for name, value in columns.items() if name in TRACE_FIELDS and value is not None}
    extra = {name: value for name, value in columns.items() if name not in TRACE_FIELDS}
    row_id = known["id"] = str(known.get("id", row_id))
    unfinished = problems and not {"completion", "completion_ids"} & set(known)
    if unfinished:
        known["completion"] = ""
    try:
        _refuse_old_offsets(columns.get("episodes"))
        known["answer"] = list(golds_of(answer))
        trace = sound_trace(known)
        trace = replace(trace, completion=None) if unfinished else trace
        return FileRow(row_id, trace, extra, named=_named(known))
    except ValidationError as error:
        [first, *_] = mistakes(error.errors(include_url=False), Trace)
        what = f"line {number}, {first.param or 'trace'}: {first.message}"
        return FileRow(row_id, None, extra, TraceError(what, param=first.param), named=_named(known))
    except TraceError as error:
        located = TraceError(f"line {number}, {error}", code=error.code, param=error.param)
        return FileRow(row_id, None, extra, located, named=_named(known))


def _named(known: Mapping[str, object]) -> frozenset[str]:
    return frozenset(name for name, value in known.items() if value)


def _refuse_old_offsets(episodes: object) -> None:
    """Refuse offsets under the name that they had; the episodes of a scored trace, which are objects, pass through."""
    if isinstance(episodes, list) and any(isinstance(each, int) for each in cast("list[object]", episodes)):
        raise TraceError("episodes: this column is episode_starts now: rename it", param="episodes")


def _parsed(line: str) -> object:
    """The JSON of a line, with its fractional numbers as they were written.

    Raises:
        UnicodeEncodeError: the line held bytes that are not UTF-8.
        ValueError: it is not JSON, or names a key twice.

    """
    return jiter.from_json(line.encode(), catch_duplicate_keys=True, float_mode="lossless-float")


def _with_floats(value: object, convert: Callable[[jiter.LosslessFloat], object]) -> object:
    """The value with each of its fractional numbers converted."""
    if isinstance(value, jiter.LosslessFloat):
        return convert(value)
    if isinstance(value, list):
        return [_with_floats(item, convert) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {name: _with_floats(item, convert) for name, item in cast("dict[str, object]", value).items()}
    return value


def _double(number: jiter.LosslessFloat) -> float | str | None:
    """As arithmetic takes it; its own text where it is too large, which no number field takes.

    NaN and Infinity are no JSON: they are how pandas writes what is missing.
    """
    double, text = float(number), str(number)
    if math.isfinite(double):
        return double
    return text if any(char.isdigit() for char in text) else None
