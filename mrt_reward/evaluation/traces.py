"""Reading many lines of `results.jsonl` without holding them; files of `mrt-reward score` and `evaluate` are read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from mrt_reward.errors import TraceError
from mrt_reward.evaluation.result import UNNAMED, Evaluation, Result
from mrt_reward.types import ScoredTrace, Status, Trace
from mrt_reward.wire import RENAMED, read_scored, sound_trace


@dataclass
class ReadNotes:
    """What was met on the way through files of results, to be noted in the report.

    Attributes:
        read: traces.
        direct: problems answered without thinking.
        cut: lines that end in the middle, as a kill leaves them.
        malformed: other lines that are no results; `first_malformed` describes the first.
        duplicates: lines of a model and id that were there before; the first that was scored counts.
        failed: traces without any value, by error code.
        models: traces by model.

    """

    read: int = 0
    direct: int = 0
    cut: int = 0
    malformed: int = 0
    first_malformed: str = ""
    duplicates: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    models: Counter[str] = field(default_factory=Counter[str])


class _Beside(BaseModel):
    """What stands in a line beside the fields of its scored trace."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    trace: dict[str, Any] | None = None
    extra: dict[str, Any] = Field(default_factory=dict)
    evaluation: Evaluation | None = None
    options: dict[str, Any] | None = None


class Results:
    """Streams results of one or more files, one at a time; `notes` is complete once the stream is.

    Of equal model and id the first scored line counts. Lines that failed are counted, unless the same trace was scored
    elsewhere.

        for result in (results := Results([path])):
            ...
        print(results.notes)

    Args:
        paths: files of `mrt-reward score` or `evaluate`.
        model: name for traces whose lines name none.

    Raises:
        OSError: when iterated, a file cannot be read.

    """

    def __init__(self, paths: Sequence[Path], *, model: str = UNNAMED) -> None:
        self.paths = tuple(paths)
        self.notes = ReadNotes()
        self.num_bytes = 0
        self._model = model

    def __iter__(self) -> Iterator[Result]:
        """Read from the start, with fresh notes."""
        self.notes = notes = ReadNotes()
        self.num_bytes = 0
        seen: set[bytes] = set()
        failed: dict[bytes, str] = {}
        for path in self.paths:
            for number, offset, text in _lines(path):
                self.num_bytes += len(text)
                read = _read(text, notes, f"{path.name}:{number}")
                if read is None:
                    continue
                result = self._result(*read, path, offset)
                scored = result.scored
                key = _digest(f"{result.model}\0{scored.id}")
                if scored.status is Status.ERROR:
                    error = scored.error
                    failed[key] = error.code if error else "unknown"
                elif key in seen:
                    notes.duplicates += 1
                else:
                    seen.add(key)
                    if result.is_direct:
                        notes.direct += 1
                    else:
                        notes.read += 1
                        notes.models[result.model] += 1
                    yield result
        notes.failed = Counter(code for key, code in failed.items() if key not in seen)

    def _result(self, scored: ScoredTrace, beside: _Beside, path: Path, offset: int) -> Result:
        trace = _trace_in(scored, beside)
        evaluation = beside.evaluation
        named = beside.extra.get("model")
        return Result(
            (trace, scored),
            model=evaluation.model if evaluation else (str(named) if named else self._model),
            problem=evaluation.problem if evaluation else problem_id(trace, scored.id),
            evaluation=evaluation,
            extra=beside.extra,
            options=beside.options,
            path=path,
            offset=offset,
        )


def problem_id(trace: Trace | None, trace_id: str) -> str:
    """What traces of one problem share: the group, else a digest of what was asked, else nothing but the id."""
    if trace is None:
        return trace_id
    if trace.group is not None:
        return trace.group
    turns = "\0".join(f"{turn.role}\0{turn.content}" for turn in trace.messages or ())
    asked = trace.problem or trace.prompt or turns
    return f"problem-{_digest(asked).hex()[:12]}" if asked else trace_id


def problem_name(trace: Trace, row_id: str) -> str:
    """What traces of one row's problem share: of a problem without a trace the group or the id, else `problem_id`."""
    if trace.completion is None and trace.completion_ids is None:
        return trace.group or row_id
    return problem_id(trace, row_id)


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Number, from 1, offset and text of each line that is not empty."""
    offset = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, offset, line
            offset += len(line)


def _parsed(text: bytes) -> tuple[ScoredTrace, _Beside]:
    """A line of results.

    Raises:
        ValueError: it is not JSON, or a field breaks the schema.

    """
    fields = from_json(text, allow_inf_nan=False)
    beside = _Beside.model_validate(fields)
    return read_scored(fields), beside


def _read(text: bytes, notes: ReadNotes, where: str) -> tuple[ScoredTrace, _Beside] | None:
    try:
        return _parsed(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = ": ".join([*filter(None, [".".join(str(part) for part in first["loc"])]), first["msg"]])
        if first["type"] == "missing" and first["loc"] == ("status",) and "values" not in first["input"]:
            what = "this trace is not scored: run `mrt-reward score` on the file first"
    except ValueError as error:
        if not text.endswith(b"}\n"):
            notes.cut += 1
            return None
        what = f"not JSON: {error}"
    notes.malformed += 1
    notes.first_malformed = notes.first_malformed or f"{where}: {what}"
    return None


def scored_trace_of_line(text: bytes) -> tuple[Trace | None, ScoredTrace]:
    """The trace of a line of results, None where it holds none, and its scores; the line was read before."""
    scored, beside = _parsed(text)
    return _trace_in(scored, beside), scored


def _trace_in(scored: ScoredTrace, beside: _Beside) -> Trace | None:
    """What cannot be read back as a trace is worth no more than none."""
    if beside.trace is None:
        return None
    # Files of earlier versions have its earlier names.
    known = {RENAMED.get(name, name): value for name, value in beside.trace.items()}
    try:
        return sound_trace({"id": scored.id, "metadata": scored.metadata, **known})
    except (ValueError, TraceError):
        return None


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).digest()
