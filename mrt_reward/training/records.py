"""What one response came to: its outcome, and its episodes in the policy's own tokens or why it has none.

Dimension key: K episodes · P = K + 1 values.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from mrt_reward.core.baselines import Extent
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
        value_P: J of its prefixes, or their posterior means where `paid_values` says so; none is missing.
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

    @property
    def extent(self) -> Extent:
        """Where its prefixes end, for credit."""
        return Extent(np.array([self.start, *self.ends], np.float64), self.cut_off)


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
class Record:
    """What one response came to, and what scoring it took.

    Attributes:
        what: its episodes, or why it has none; in mode `prefix`, the row that it is of. None where nobody tried, as in
            a response of one token, or where a row could not be read.
        reason: of a lapse, in words.
        prover: the `model@version` that answered.
        latency_s: from the call to the result.
        probes: terminated prefixes.
        cached_probes: of them, answered from the server's cache.
        computed_tokens: that the prover ran through its network for it.
        proved_tokens: of its longest terminated prefix, in the prover's tokens.
        waited_s: how long the trainer's own reward was there before the values were.
        rewarded_at: time of the day at which both were there, in seconds; NaN where the trainer does not say.
        outcome: the trainer's own reward of the finished trace; NaN where it is not known, or not yet.
        num_tokens: T, tokens of the response, once the outcome is there.

    """

    what: Scored | Lapse | Prefixed | None
    reason: str = ""
    prover: str | None = None
    latency_s: float = 0.0
    probes: int = 0
    cached_probes: int = 0
    computed_tokens: int = 0
    proved_tokens: int = 0
    waited_s: float = 0.0
    rewarded_at: float = math.nan
    outcome: float = math.nan
    num_tokens: int = 0

    def rewarded(self, outcome: float, num_tokens: int) -> Record:
        """The same as a row of a batch."""
        return replace(self, outcome=outcome, num_tokens=num_tokens)

    @property
    def scored(self) -> Scored | None:
        """Its episodes, if it was scored."""
        return self.what if isinstance(self.what, Scored) else None

    @property
    def lapse(self) -> Lapse | None:
        """Why it was not scored; None also where nobody tried."""
        return self.what if isinstance(self.what, Lapse) else None

    @property
    def row(self) -> Prefixed | None:
        """In mode `prefix`, the row that it is of."""
        return self.what if isinstance(self.what, Prefixed) else None

    @property
    def trained(self) -> Prefixed | None:
        """Its row, if any of its tokens can be trained: not where it had to stop and gave no answer."""
        return self.row if self.row is not None and self.row.start < self.num_tokens else None


def number_of(name: object) -> int:
    """A name as 28 bits; two names share a number once in 268 million pairs."""
    return int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=4).digest(), "big") % _NUM_NUMBERS
