"""Progress on its way to the advantage, where the only road is one float32 per response token.

A framework hands the advantage estimator a row of token rewards and nothing else, so the row carries everything: the
outcome on the last token, each episode's progress on its last token, and numbers too small to matter in any sum for
what else credit needs. Every mark is a normal float32; `decode(encode(...))` returns what went in.

    version mark   -2^-(50 + v % 32)·(1 + v // 32 / 2^23)   one token before the opening mark; v has 28 bits
    opening mark   -2^-(40 + tag)·(1 + J[0]/2)              just before the first episode, or as early as it can be
    episode mark   r_prg[j], or 1e-12 for none              on the last token of the episode
    lapse mark     2^-(80 + lapse)                          on the first token of a trace without progress to carry

Dimension key: K episodes · P = K + 1 values · T tokens.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.credit import Floats
from mrt_reward.core.progress import progress_rewards
from mrt_reward.types import Span

Mark = tuple[int, float]
"""Token of the response, and what is added to its reward."""

NO_PROGRESS = 1e-12
"""How a progress of zero is written: a boundary, and paid nothing."""

SMALLEST_PROGRESS = 1e-9
"""Progress below this is zero: float32 values near one differ by more."""

_OPENING_EXPONENT, _VERSION_EXPONENT, _LAPSE_EXPONENT = 40, 50, 80
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
    """What a row of token rewards says.

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


def number_of(name: object) -> int:
    """A name as 28 bits; two names share a number once in 268 million pairs."""
    return int.from_bytes(hashlib.blake2b(str(name).encode(), digest_size=4).digest(), "big") % _NUM_NUMBERS


def number_mark(number: int, exponent: int) -> float:
    """A number of 28 bits as a mark between 2^-(exponent + 31) and 2^(1 - exponent)."""
    return math.ldexp(1.0 + (number // 32) / 2**23, -exponent - number % 32)


def marked_number(mark: float, exponent: int) -> int:
    """What `number_mark` was given."""
    mantissa, power = math.frexp(mark)
    return 1 - power - exponent + 32 * round((2 * mantissa - 1) * 2**23)


def encode(what: Scored | Lapse, num_tokens: int) -> list[Mark]:
    """Marks of one trace; the last token is left to the outcome.

    An episode that ends on the last token is marked one token earlier. Where two marks would share a token, the two
    episodes become one, whose progress is the sum; so does a first episode that ends before the opening mark, within
    the response's first two tokens, and it is paid nothing if it is the only one. A response too short for its marks
    gets none.
    """
    last = num_tokens - 2
    if isinstance(what, Lapse):
        return [] if last < 0 else [(0, math.ldexp(1.0, -_LAPSE_EXPONENT - what))]
    opening = max(what.start - 1, 1)
    if opening > last:
        return []
    kept: list[tuple[int, float]] = []
    for end, value in zip(what.ends, what.value_P[1:].tolist(), strict=True):
        place = min(end - 1, last)
        if kept and kept[-1][0] >= place:
            kept[-1] = (place, value)
        elif place > opening:
            kept.append((place, value))
    value_P = np.array([what.value_P[0], *(value for _, value in kept)])
    tag = 3 * what.cut_off + min(what.start, 2)
    marks = [
        (opening - 1, -number_mark(what.version, _VERSION_EXPONENT)),
        (opening, -math.ldexp(1.0 + float(what.value_P[0]) / 2, -_OPENING_EXPONENT - tag)),
    ]
    for (place, _), progress in zip(kept, progress_rewards(value_P).tolist(), strict=True):
        marks.append((place, NO_PROGRESS if abs(progress) < SMALLEST_PROGRESS else progress))
    return marks


def decode(reward_T: NDArray[np.floating]) -> Reading:
    """What a row says; `reward_T` ends with the response's last token, where the outcome is."""
    num_tokens = len(reward_T)
    if num_tokens == 0:
        raise ValueError("expected the rewards of at least one token, got none")
    outcome = float(reward_T[-1])
    places = np.flatnonzero(reward_T[:-1]).tolist()
    if not places:
        return Reading(outcome, num_tokens, None)
    first = float(reward_T[places[0]])
    if 0 < first < 2.0**-60:
        return Reading(outcome, num_tokens, None, Lapse(round(-math.log2(first)) - _LAPSE_EXPONENT))
    if len(places) < 2 or not -(2.0 ** (1 - _VERSION_EXPONENT)) < first < 0:
        return Reading(outcome, num_tokens, None)
    opening, rest = places[1], places[2:]
    mantissa, power = math.frexp(-float(reward_T[opening]))
    cut_off, offset = divmod(1 - power - _OPENING_EXPONENT, 3)
    progress_K = np.array([float(reward_T[place]) for place in rest])
    progress_K[np.abs(progress_K) < SMALLEST_PROGRESS] = 0.0
    ends = [place + 1 for place in rest]
    if cut_off and ends:
        ends[-1] = num_tokens
    value_P = (4 * mantissa - 2) + np.append(0.0, np.cumsum(progress_K))
    version = marked_number(-first, _VERSION_EXPONENT)
    scored = Scored(opening - 1 + offset, tuple(ends), value_P, bool(cut_off), version)
    return Reading(outcome, num_tokens, scored)
