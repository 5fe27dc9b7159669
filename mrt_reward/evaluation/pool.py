"""Scored traces that data can be made of, and why the others cannot.

Dimension key: K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from mrt_reward.errors import NO_THINKING, ConfigError
from mrt_reward.evaluation.comparable import EstimatorCounts
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.stored import NUM_KEPT, StoredLines, StoredTrace
from mrt_reward.evaluation.traces import ReadNotes, Results
from mrt_reward.options import Delimiters
from mrt_reward.types import Status

THINK_TAGS = Delimiters()
"""`<think>` and `</think>`."""


class Unusable(str, Enum):
    """Why no data can be made of a trace."""

    FAILED = "scoring failed"
    NO_TRACE = "its line does not hold the trace: score it again"
    NO_TEXT = "no text, only token ids"
    NO_PROMPT = "no problem, only token ids"
    NO_THINKING = "no thinking"
    CONTROL = "its text holds a control token, which a trainer's tokenizer would obey"


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a file's traces are read.

    Attributes:
        delimiters: what opens and closes thinking; the text may hold one pair.
        holds_control: whether text would become control tokens; see `Prompts.holds_control`.
        model: take the traces of this model only; None where all are of one.

    """

    delimiters: Delimiters = THINK_TAGS
    holds_control: Callable[[str], bool] = lambda _: False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """What data is made of, and what was met on the way.

    Attributes:
        traces: in the order of the files.
        unusable: number of others, by why.
        notes: of the reader: lines cut, malformed or repeated.
        prover: that gave all values.

    """

    traces: Sequence[Result]
    unusable: Mapping[Unusable, int]
    notes: ReadNotes
    prover: str


def read_pool(
    paths: Sequence[Path], reading: ReadOptions = ReadOptions(), tell: Callable[[int], None] = lambda _: None
) -> Pool:
    """Read files of `mrt-reward score` or `evaluate`; the traces and their scores stay there.

    Args:
        paths: the files.
        reading: which traces are taken.
        tell: is called with the number of bytes read so far.

    Raises:
        ConfigError: no trace is usable; or they are of several models, provers or estimators, whose values do not
            compare.

    """
    results = Results(paths)
    traces: list[Result] = []
    unusable: Counter[Unusable] = Counter()
    files = {path: StoredLines(path) for path in paths}
    keys: dict[bytes, bytes] = {}
    models, provers, ways = Counter[str](), Counter[str](), EstimatorCounts()
    for result in results:
        tell(results.num_bytes)
        if result.is_direct or (reading.model is not None and result.model != reading.model):
            continue
        models[result.model] += 1
        found = why_unusable(result, reading)
        if found is not None:
            unusable[found] += 1
        else:
            provers[result.scored.prover or "unknown"] += 1
            ways.add(result.scored, result.options)
            # One copy for all traces of a problem, and of the rest only what is known without reading.
            key = keys.setdefault(result.problem_key, result.problem_key)
            line = StoredTrace(files[result.path], result.offset, key)
            traces.append(replace(result, held=line, evaluation=None, extra={}, options=None))
    for code, count in results.notes.failed.items():
        unusable[Unusable.NO_THINKING if code == NO_THINKING else Unusable.FAILED] += count
    if len(models) > 1:
        raise ConfigError(
            f"expected traces of one model, got {_counts(models)}: choose one with --policy", param="policy"
        )
    if len(provers) > 1:
        raise ConfigError(f"expected values of one prover, got {_counts(provers)}: score all traces with one")
    ways.refuse_mixed()
    if not traces:
        raise ConfigError(f"no usable trace in {', '.join(map(str, paths))}: {_why(unusable, results.notes)}")
    for lines in files.values():
        # The traces of one problem are looked at together, however many they are.
        lines.keep(max(NUM_KEPT, *map(len, indices_by_problem(traces))))
    return Pool(traces, unusable, results.notes, next(iter(provers)))


def indices_by_problem(traces: Sequence[Result]) -> list[list[int]]:
    """Where the traces of each problem stand in the sequence, by problem in order of appearance."""
    indices: dict[bytes, list[int]] = {}
    for index, trace in enumerate(traces):
        indices.setdefault(trace.problem_key, []).append(index)
    return list(indices.values())


def _counts(number: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in number.items())


def _why(unusable: Mapping[Unusable, int], notes: ReadNotes) -> str:
    lines = [f"{count} traces: {reason.value}" for reason, count in unusable.items()]
    lines += [f"{notes.cut} lines cut short"] * bool(notes.cut)
    lines += [f"{notes.malformed} lines malformed, first {notes.first_malformed}"] * bool(notes.malformed)
    return "; ".join(lines) or "the file has no lines"


def why_unusable(result: Result, reading: ReadOptions = ReadOptions()) -> Unusable | None:
    """Why no data can be made of a trace; None where it can."""
    scored = result.scored
    if scored.status is Status.ERROR:
        no_thinking = scored.error is not None and scored.error.code == NO_THINKING
        return Unusable.NO_THINKING if no_thinking else Unusable.FAILED
    if not result.has_trace:
        return Unusable.NO_TRACE
    trace = result.trace
    if trace.completion is None:
        return Unusable.NO_TEXT
    if trace.prompt is None and trace.problem is None and trace.messages is None:
        return Unusable.NO_PROMPT
    if not scored.episodes:
        return Unusable.NO_THINKING
    said = (result.prefix(result.num_episodes), result.ending.removeprefix(reading.delimiters.close))
    return Unusable.CONTROL if any(reading.holds_control(text) for text in said) else None
