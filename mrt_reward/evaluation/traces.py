"""One line of `results.jsonl`, and reading many of them without holding them.

A line is what `mrt-reward score` writes for a trace: the wire's scored trace, the trace itself under `trace`, and
columns that are not ours under `extra`. `mrt-reward evaluate` adds what it knows of how the trace came about, under
`evaluation`. Files of both verbs are read here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from mrt_reward.errors import TraceError
from mrt_reward.types import ScoredTrace, Status, Trace, Value
from mrt_reward.wire import RENAMED, read_scored, sound_trace

UNNAMED = "unnamed"
"""Model of traces that do not say which model wrote them."""


@dataclass(frozen=True, slots=True)
class Extension:
    """Thinking that was forced on beyond the trace's own end (budget forcing).

    Attributes:
        text: all of it, in order; untrusted but for the words that force it.
        ends: where each point lies, in characters of `text`.
        prefix_tokens: length of the terminated prefix at each point, in prover tokens.
        values: J at each point.

    """

    __pydantic_config__: ClassVar[Any] = {"extra": "ignore"}

    text: str
    ends: tuple[int, ...]
    prefix_tokens: tuple[int, ...]
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Direct:
    """How a problem was answered without thinking.

    Attributes:
        truncated: answers that their budget, or the context, ended.
        thought: answers that opened thinking all the same.

    """

    __pydantic_config__: ClassVar[Any] = {"extra": "ignore"}

    truncated: int = 0
    thought: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a trace came about, as `mrt-reward evaluate` knows it.

    Attributes:
        model: that wrote it.
        problem: pairs the traces of different models.
        sampled_tokens: that the policy sampled for it, answer included; None for a trace that was given.
        truncated: whether the policy's budget ended it; None for a trace that was given.
        extension: beyond its end, if that was asked for.
        direct: of a line that is no trace, but a problem answered without thinking: its one value is J of no thinking.

    """

    __pydantic_config__: ClassVar[Any] = {"extra": "ignore"}

    model: str
    problem: str
    sampled_tokens: int | None = None
    truncated: bool | None = None
    extension: Extension | None = None
    direct: Direct | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One line read back.

    Attributes:
        scored: values and episodes; its status is never "error".
        trace: what was scored; None where the file does not hold it.
        model: that wrote it, `UNNAMED` if the file does not say.
        problem: equal for traces of one problem, in whatever file.
        evaluation: None in files of `mrt-reward score`.
        extra: columns that are not ours.
        path: of the file.
        offset: where its line starts there, in bytes.

    """

    scored: ScoredTrace
    trace: Trace | None
    model: str
    problem: str
    evaluation: Evaluation | None
    extra: Mapping[str, Any]
    path: Path
    offset: int

    @property
    def is_direct(self) -> bool:
        """Whether the line holds answers without thinking, and no trace."""
        return self.evaluation is not None and self.evaluation.direct is not None

    @property
    def completion(self) -> str:
        """What the model wrote; empty where the file does not hold it."""
        return (self.trace and self.trace.completion) or ""

    def prefix(self, j: int) -> str:
        """Text of the completion up to the end of `z[:j]`; its start, delimiter included, for j = 0."""
        episodes = self.scored.episodes
        if not episodes:
            return ""
        return self.completion[: episodes[0].char_start if j == 0 else episodes[j - 1].char_end]


@dataclass
class ReadNotes:
    """What was met on the way through files of results, to be told in the report.

    Attributes:
        read: traces.
        direct: problems answered without thinking.
        cut: lines that end in the middle, as a kill leaves them.
        malformed: other lines that are no results; `first_malformed` tells the first.
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
                key = _digest(f"{result.model}\0{result.scored.id}")
                if result.scored.status is Status.ERROR:
                    error = result.scored.error
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
        told = beside.evaluation
        named = beside.extra.get("model")
        return Result(
            scored,
            trace,
            model=told.model if told else (str(named) if named else self._model),
            problem=told.problem if told else problem_id(trace, scored.id),
            evaluation=told,
            extra=beside.extra,
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
        first = error.errors(include_url=False, include_input=False)[0]
        what = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
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
