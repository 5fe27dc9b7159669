"""Progress on its way to the advantage, where the only road is one float32 per response token.

A framework hands the advantage estimator a row of token rewards and nothing else, so the row carries everything: the
outcome on the last token, each episode's progress on its last token, and numbers too small to matter in any sum for
what else credit needs. Every mark is a normal float32; `decode(encode(...))` returns what went in.

    opening mark   -2^-(40 + tag)·(1 + J[0]/2)   just before the first episode, or on the response's first token
    episode mark   r_prg[j], or 1e-12 for none   on the last token of the episode
    lapse mark     2^-(80 + lapse)               on the first token of a trace that has no progress to carry

Dimension key: K episodes · P = K + 1 values · T tokens.
"""

from __future__ import annotations

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

NUM_VERSIONS = 16
_OPENING_EXPONENT = 40
_LAPSE_EXPONENT = 80


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
        version: of the prover, as a number below `NUM_VERSIONS` that changes with it (mostly: it is a hash).

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


def encode(what: Scored | Lapse, num_tokens: int) -> list[Mark]:
    """Marks of one trace; the last token is left to the outcome.

    An episode that ends on the last token is marked one token earlier. Where two marks would share a token, the two
    episodes become one, whose progress is the sum. A response too short for any mark gets none.
    """
    last = num_tokens - 2
    if last < 0:
        return []
    if isinstance(what, Lapse):
        return [(0, math.ldexp(1.0, -_LAPSE_EXPONENT - what))]
    opening = max(what.start - 1, 0)
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
    tag = 4 * (what.version % NUM_VERSIONS) + 2 * what.cut_off + (what.start > 0)
    marks = [(opening, -math.ldexp(1.0 + float(what.value_P[0]) / 2, -_OPENING_EXPONENT - tag))]
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
    first, rest = float(reward_T[places[0]]), places[1:]
    if 0 < first < 2.0**-60:
        return Reading(outcome, num_tokens, None, Lapse(round(-math.log2(first)) - _LAPSE_EXPONENT))
    if not -(2.0 ** (1 - _OPENING_EXPONENT)) < first < 0:
        return Reading(outcome, num_tokens, None)
    mantissa, exponent = math.frexp(-first)
    tag = 1 - exponent - _OPENING_EXPONENT
    cut_off = bool(tag & 2)
    progress_K = np.array([float(reward_T[place]) for place in rest])
    progress_K[np.abs(progress_K) < SMALLEST_PROGRESS] = 0.0
    ends = [place + 1 for place in rest]
    if cut_off and ends:
        ends[-1] = num_tokens
    value_P = (4 * mantissa - 2) + np.append(0.0, np.cumsum(progress_K))
    scored = Scored(places[0] + (tag & 1), tuple(ends), value_P, cut_off, tag // 4)
    return Reading(outcome, num_tokens, scored)
