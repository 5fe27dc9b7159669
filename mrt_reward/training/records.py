"""What one response came to: its outcome, and its episodes in the policy's own tokens or why it has none.

Dimension key: K episodes · P = K + 1 values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from mrt_reward.core.progress import Floats
from mrt_reward.types import Span

_NUM_NUMBERS = 2**28


class Lapse(IntEnum):
    """Why a trace carries no progress."""

    NO_THINKING = 0
    """It does not think, so there is nothing to score. No failure: its outcome is all there is."""
    REJECTED = 1
    """The server says that this trace cannot be scored as it was sent."""
    TIMEOUT = 2
    """No score came in time."""
    UNREACHABLE = 3
    """No server answered."""
    MALFORMED = 4
    """A reply came that is not of the contract, or that does not fit the trace."""
    PROVER = 5
    """The server answered that its prover or grader failed."""
    PARTIAL = 6
    """Some of its values are missing."""
    UNSUPPORTED = 7
    """It is of a kind that the trainer's adapter cannot mark: several outputs, or a tool's tokens at the end."""

    @property
    def failed(self) -> bool:
        """Whether progress was expected and is not there."""
        return self is not Lapse.NO_THINKING


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored trace in tokens of the policy's own response.

    Attributes:
        start: first token of the first episode.
        ends: one past the last token of each episode, increasing.
        value_P: J of its prefixes; none is missing.
        cut_off: whether the response ended while thinking, so that there is no answer.
        version: `number_of` the prover that scored it.

    """

    start: int
    ends: tuple[int, ...]
    value_P: Floats
    cut_off: bool
    version: int = 0

    @property
    def spans(self) -> tuple[Span, ...]:
        """Episodes as spans of tokens."""
        return tuple(Span(a, b) for a, b in zip((self.start, *self.ends), self.ends, strict=False))


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of one response of a batch.

    Attributes:
        outcome: the trainer's own reward of the finished trace.
        num_tokens: T, tokens of the response.
        scored: its episodes, if it was scored.
        lapse: why it was not; None also where nobody tried, as in a response of one token.

    """

    outcome: float
    num_tokens: int
    scored: Scored | None
    lapse: Lapse | None = None


@dataclass(frozen=True, slots=True)
class Prefixed:
    """A row that starts from a prefix.

    Attributes:
        group: which rows are normalised together; `number_of` the dataset's name for it.
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
    """What a row came to; `row` is None where it could not be read."""

    outcome: float
    num_tokens: int
    row: Prefixed | None

    @property
    def trained(self) -> Prefixed | None:
        """Its row, if any of its tokens can be trained: not where it had to stop and gave no answer."""
        return self.row if self.row is not None and self.row.start < self.num_tokens else None


@dataclass(frozen=True, slots=True)
class Record:
    """What scoring one response took and came to.

    Attributes:
        what: its episodes, or why it has none; in mode `prefix`, the row that it is of.
        reason: of a lapse, in words.
        prover: the `model@version` that answered.
        latency_s: from the call to the result.
        probes: terminated prefixes.
        cached_probes: of them, answered from the server's cache.

    """

    what: Scored | Lapse | Prefixed
    reason: str = ""
    prover: str | None = None
    latency_s: float = 0.0
    probes: int = 0
    cached_probes: int = 0

    def reading(self, outcome: float, num_tokens: int) -> Reading:
        """The same as a row of a batch; see `Reading`."""
        scored = self.what if isinstance(self.what, Scored) else None
        return Reading(outcome, num_tokens, scored, self.what if isinstance(self.what, Lapse) else None)

    def prefix_reading(self, outcome: float, num_tokens: int) -> PrefixReading:
        """The same as a row of a batch that starts from prefixes."""
        return PrefixReading(outcome, num_tokens, self.what if isinstance(self.what, Prefixed) else None)


def number_of(name: object) -> int:
    """A name as 28 bits; two names share a number once in 268 million pairs."""
    return int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=4).digest(), "big") % _NUM_NUMBERS
