"""Scored traces that data can be made of, and why the others cannot.

Dimension key: K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mrt_reward.core.progress import Floats, nan_array
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.stored import NUM_KEPT, StoredLines, StoredTrace
from mrt_reward.evaluation.traces import ReadNotes, Results
from mrt_reward.options import Delimiters
from mrt_reward.types import ScoredTrace, Status, Trace, Value

RIGHT = 0.5
"""An outcome above this is right: outcomes are 0 or 1, or a grader's score in [0, 1]."""


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
class Usable:
    """A scored trace with its text.

    Attributes:
        held: as it was scored, or where it is; its completion is text.
        scores: its values and episodes, of which there is at least one; None where they stand beside it in the file.

    """

    held: Trace | StoredTrace
    scores: ScoredTrace | None = None

    @property
    def trace(self) -> Trace:
        """As it was scored.

        Raises:
            ConfigError: it is in a file that has changed.

        """
        return self.held.read()[0] if isinstance(self.held, StoredTrace) else self.held

    @property
    def scored(self) -> ScoredTrace:
        """Its values and episodes.

        Raises:
            ConfigError: they are in a file that has changed.

        """
        if self.scores is not None:
            return self.scores
        assert isinstance(self.held, StoredTrace)  # noqa: S101 - a trace that is held comes with its scores
        return self.held.read()[1]

    @property
    def completion(self) -> str:
        """Text of the model."""
        assert self.trace.completion is not None  # noqa: S101 - `usable` has seen to it
        return self.trace.completion

    @property
    def num_episodes(self) -> int:
        """K."""
        return len(self.scored.episodes)

    @property
    def problem(self) -> str:
        """What tells problems apart: what was asked, not how the group was named."""
        asked = self.trace.prompt or self.trace.problem
        if asked is not None:
            return asked
        return json.dumps([[turn.role, turn.content] for turn in self.trace.messages or ()])

    @property
    def problem_key(self) -> bytes:
        """What traces of one problem share, short and known without reading."""
        return self.held.problem_key if isinstance(self.held, StoredTrace) else _key_of(self.problem)

    @property
    def values(self) -> Floats:
        """Values, NaN where one is missing."""
        return nan_array(value.value for value in self.scored.values)

    @property
    def highs(self) -> Floats:
        """Upper ends of the values' 95 % intervals, NaN where one is missing."""
        return nan_array(value.high for value in self.scored.values)

    @property
    def is_complete(self) -> bool:
        """Whether all values are there."""
        return all(value.value is not None for value in self.scored.values)

    @property
    def is_right(self) -> bool | None:
        """Whether the finished trace is right; None where that is not known."""
        return None if self.scored.outcome is None else self.scored.outcome > RIGHT

    def char_at(self, place: int) -> int:
        """Where the prefix `z[:place]` ends, in characters of the completion."""
        episodes = self.scored.episodes
        return episodes[place - 1].char_end if place else episodes[0].char_start

    def tokens_at(self, place: int) -> int:
        """Length of the prefix `z[:place]`, in prover tokens."""
        episodes = self.scored.episodes
        return (episodes[place - 1].token_end if place else episodes[0].token_start) - episodes[0].token_start

    def prefix(self, place: int) -> str:
        """Text of `z[:place]`."""
        return self.completion[self.char_at(0) : self.char_at(place)]

    def episode(self, place: int) -> str:
        """Text of `z[place]`."""
        return self.completion[self.char_at(place) : self.char_at(place + 1)]

    @property
    def ending(self) -> str:
        """What follows the thinking, closing delimiter first; empty where it was never closed."""
        return self.completion[self.char_at(self.num_episodes) :]

    def value(self, place: int) -> Value:
        """J of `z[:place]`."""
        return self.scored.values[place]

    def prefix_keys(self) -> Iterator[bytes]:
        """One short key per prefix; two traces share it where they share problem and prefix, to the letter."""
        running = hashlib.blake2b(self.problem.encode("utf-8", "surrogatepass"), digest_size=16)
        for place in range(self.num_episodes + 1):
            if place:
                running.update(self.episode(place - 1).encode("utf-8", "surrogatepass"))
            keyed = running.copy()
            # Where the problem ends and the thinking starts must not be guessed from the bytes.
            keyed.update(f"\0{len(self.problem)}".encode())
            yield keyed.digest()


@dataclass(frozen=True, slots=True)
class Reading:
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

    traces: Sequence[Usable]
    unusable: Mapping[Unusable, int]
    notes: ReadNotes
    prover: str


def read_pool(
    paths: Sequence[Path], reading: Reading = Reading(), tell: Callable[[int], None] = lambda _: None
) -> Pool:
    """Read files of `mrt-reward score` or `evaluate`; the traces and their scores stay there.

    Args:
        paths: the files.
        reading: which traces are taken.
        tell: is called with the number of bytes read so far.

    Raises:
        ConfigError: no trace is usable; or they are of several models or provers, whose values do not compare.

    """
    results = Results(paths)
    traces: list[Usable] = []
    unusable: Counter[Unusable] = Counter()
    files = {path: StoredLines(path) for path in paths}
    keys: dict[bytes, bytes] = {}
    models, provers = Counter[str](), Counter[str]()
    for result in results:
        tell(results.num_bytes)
        if result.is_direct or (reading.model is not None and result.model != reading.model):
            continue
        models[result.model] += 1
        found = usable(result.trace, result.scored, reading)
        if isinstance(found, Unusable):
            unusable[found] += 1
        else:
            provers[result.scored.prover or "unknown"] += 1
            # One copy for all traces of a problem.
            key = keys.setdefault(found.problem_key, found.problem_key)
            traces.append(Usable(StoredTrace(files[result.path], result.offset, key)))
    for code, count in results.notes.failed.items():
        unusable[Unusable.NO_THINKING if code == "no_thinking" else Unusable.FAILED] += count
    if len(models) > 1:
        raise ConfigError(
            f"expected traces of one model, got {_counts(models)}: choose one with --policy", param="policy"
        )
    if len(provers) > 1:
        raise ConfigError(f"expected values of one prover, got {_counts(provers)}: score all traces with one")
    if not traces:
        raise ConfigError(f"no usable trace in {', '.join(map(str, paths))}: {_why(unusable, results.notes)}")
    for lines in files.values():
        # The traces of one problem are looked at together, however many they are.
        lines.keep(max(NUM_KEPT, *map(len, places_by_problem(traces))))
    return Pool(traces, unusable, results.notes, next(iter(provers)))


def places_by_problem(traces: Sequence[Usable]) -> list[list[int]]:
    """Where the traces of each problem stand in the sequence, by problem in order of appearance."""
    places: dict[bytes, list[int]] = {}
    for place, trace in enumerate(traces):
        places.setdefault(trace.problem_key, []).append(place)
    return list(places.values())


def _counts(number: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in number.items())


def _why(unusable: Mapping[Unusable, int], notes: ReadNotes) -> str:
    told = [f"{count} traces: {reason.value}" for reason, count in unusable.items()]
    told += [f"{notes.cut} lines cut short"] * bool(notes.cut)
    told += [f"{notes.malformed} lines malformed, first {notes.first_malformed}"] * bool(notes.malformed)
    return "; ".join(told) or "the file has no lines"


def usable(trace: Trace | None, scored: ScoredTrace, reading: Reading = Reading()) -> Usable | Unusable:
    """The trace with its text, or why no data can be made of it."""
    if scored.status is Status.ERROR:
        no_thinking = scored.error is not None and scored.error.code == "no_thinking"
        return Unusable.NO_THINKING if no_thinking else Unusable.FAILED
    if trace is None:
        return Unusable.NO_TRACE
    if trace.completion is None:
        return Unusable.NO_TEXT
    if trace.prompt is None and trace.problem is None and trace.messages is None:
        return Unusable.NO_PROMPT
    if not scored.episodes:
        return Unusable.NO_THINKING
    found = Usable(trace, scored)
    said = (found.prefix(found.num_episodes), found.ending.removeprefix(reading.delimiters.close))
    return Unusable.CONTROL if any(reading.holds_control(text) for text in said) else found


def _key_of(problem: str) -> bytes:
    return hashlib.blake2b(problem.encode("utf-8", "surrogatepass"), digest_size=16).digest()
