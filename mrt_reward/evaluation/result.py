"""One line of `results.jsonl`: a scored trace, and how it came about.

A line is what `mrt-reward score` writes for a trace: the wire's scored trace, the trace itself under `trace`, and
columns that are not ours under `extra`. `mrt-reward evaluate` adds what it knows of how the trace came about, under
`evaluation`.

Dimension key: K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mrt_reward.core.progress import Floats, nan_array
from mrt_reward.errors import ConfigError
from mrt_reward.types import ScoredTrace, Trace, Value

UNNAMED = "unnamed"
"""Model of traces that do not say which model wrote them."""

RIGHT = 0.5
"""An outcome above this is right: outcomes are 0 or 1, or a grader's score in [0, 1]."""


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


class Line(Protocol):
    """A line that stays in its file until something of it is asked for; see `stored`."""

    @property
    def problem_key(self) -> bytes:
        """What the traces of its problem share."""
        ...

    def read(self) -> tuple[Trace | None, ScoredTrace]:
        """The trace and its scores."""
        ...


@dataclass(frozen=True, slots=True)
class Result:
    """One line read back, or the same for a trace that was just scored.

    What is read of a line that stays in its file raises `ConfigError` where the file has changed.

    Attributes:
        held: the trace, None where the file does not hold it, and its scores; or the line that has them.
        model: that wrote it, `UNNAMED` if the file does not say.
        problem: equal for traces of one problem, in whatever file.
        evaluation: None in files of `mrt-reward score`.
        extra: columns that are not ours.
        options: that it was scored with; None where the line does not say.
        path: of the file.
        offset: where its line starts there, in bytes.
        rescored: its scores by another prover, which stand for those that are held.

    """

    held: tuple[Trace | None, ScoredTrace] | Line
    model: str = UNNAMED
    problem: str = ""
    evaluation: Evaluation | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    options: Mapping[str, Any] | None = None
    path: Path = Path()
    offset: int = 0
    rescored: ScoredTrace | None = None

    def _read(self) -> tuple[Trace | None, ScoredTrace]:
        return self.held if isinstance(self.held, tuple) else self.held.read()

    @property
    def scored(self) -> ScoredTrace:
        """Values and episodes."""
        return self._read()[1] if self.rescored is None else self.rescored

    @property
    def has_trace(self) -> bool:
        """Whether what was scored is there as well."""
        return self._read()[0] is not None

    @property
    def trace(self) -> Trace:
        """What was scored.

        Raises:
            ConfigError: it is not there.

        """
        trace = self._read()[0]
        if trace is None:
            raise ConfigError(f"the line of {self.scored.id} in {self.path} does not hold its trace: score it again")
        return trace

    @property
    def is_direct(self) -> bool:
        """Whether the line holds answers without thinking, and no trace."""
        return self.evaluation is not None and self.evaluation.direct is not None

    @property
    def answered_by(self) -> str:
        """What a report calls the model: one that answered without thinking is another than the same that thought."""
        return f"{self.model}, direct" if self.is_direct else self.model

    @property
    def completion(self) -> str:
        """What the model wrote; empty where the file does not hold it."""
        trace = self._read()[0]
        return (trace and trace.completion) or ""

    def text_until(self, j: int) -> str:
        """Text of the completion up to the end of `z[:j]`; its start, delimiter included, for j = 0."""
        return self.completion[: self.char_at(j)] if self.scored.episodes else ""

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.scored.episodes)

    @property
    def asked(self) -> str:
        """What tells problems apart: what was asked, not how the group was named."""
        asked = self.trace.prompt or self.trace.problem
        if asked is not None:
            return asked
        return json.dumps([[turn.role, turn.content] for turn in self.trace.messages or ()])

    @property
    def problem_key(self) -> bytes:
        """What traces of one problem share, short and known without reading."""
        return key_of(self.asked) if isinstance(self.held, tuple) else self.held.problem_key

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

    def char_at(self, j: int) -> int:
        """Where the prefix `z[:j]` ends, in characters of the completion."""
        episodes = self.scored.episodes
        return episodes[j - 1].char_end if j else episodes[0].char_start

    def tokens_at(self, j: int) -> int:
        """Length of the prefix `z[:j]`, in prover tokens."""
        episodes = self.scored.episodes
        return (episodes[j - 1].token_end if j else episodes[0].token_start) - episodes[0].token_start

    def prefix(self, j: int) -> str:
        """Text of `z[:j]`."""
        return self.completion[self.char_at(0) : self.char_at(j)]

    def episode(self, j: int) -> str:
        """Text of `z[j]`."""
        return self.completion[self.char_at(j) : self.char_at(j + 1)]

    @property
    def ending(self) -> str:
        """What follows the thinking, closing delimiter first; empty where it was never closed."""
        return self.completion[self.char_at(self.num_episodes) :]

    def value(self, j: int) -> Value:
        """J of `z[:j]`."""
        return self.scored.values[j]

    def prefix_keys(self) -> Iterator[bytes]:
        """One short key per prefix; two traces share it where they share problem and prefix, to the letter."""
        running = hashlib.blake2b(self.asked.encode("utf-8", "surrogatepass"), digest_size=16)
        for j in range(self.num_episodes + 1):
            if j:
                running.update(self.episode(j - 1).encode("utf-8", "surrogatepass"))
            keyed = running.copy()
            # Where the problem ends and the thinking starts must not be guessed from the bytes.
            keyed.update(f"\0{len(self.asked)}".encode())
            yield keyed.digest()


def key_of(asked: str) -> bytes:
    """What was asked as a short key."""
    return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).digest()
