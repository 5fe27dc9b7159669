"""Progress on its way to the advantage, where veRL's only road is one float32 per response token.

veRL hands the advantage estimator a row of token rewards and nothing else, so the row carries everything: the outcome
on the last token, each episode's progress on its last token, and numbers too small to matter in any sum for what else
credit needs. Every mark is a normal float32; `decode(encode(...))` returns what went in.

    version mark   -2^-(50 + v % 32)·(1 + v // 32 / 2^23)   one token before the opening mark; v has 28 bits
    opening mark   -2^-(40 + tag)·(1 + J[0]/2)              just before the first episode, or as early as it can be
    episode mark   r_prg[j], or 1e-12 for none              on the last token of the episode

(where progress is of log J, instead of J[0] how far its level is up the scale, and r_prg in nats)

    lapse mark     2^-(80 + lapse)                          on the first token of a trace without progress to carry

A row that starts from a prefix carries two instead:

    group mark     2^-(90 + g % 32)·(1 + g // 32 / 2^23)    on the first token: the group, as a number of 28 bits
    value mark     -2^-(70 + tag)·(1 + value / 2)           on the second, or on the first that is trained

Dimension key: K episodes · P = K + 1 values · T tokens.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.progress import progress_rewards
from mrt_reward.core.scale import ProgressScale
from mrt_reward.errors import TraceError
from mrt_reward.training.records import Lapse, Prefixed, Record, Scored

Mark = tuple[int, float]
"""Token of the response, and what is added to its reward."""

NO_PROGRESS = 1e-12
"""How a progress of zero is written: a boundary, and paid nothing."""

SMALLEST_PROGRESS = 1e-9
"""Progress below this is zero: float32 values near one differ by more."""

_OF_J = ProgressScale()

_OPENING_EXPONENT, _VERSION_EXPONENT, _LAPSE_EXPONENT = 40, 50, 80
_GROUP_EXPONENT, _VALUE_EXPONENT = 90, 70


def number_mark(number: int, exponent: int) -> float:
    """A number of 28 bits as a mark between 2^-(exponent + 31) and 2^(1 - exponent)."""
    return math.ldexp(1.0 + (number // 32) / 2**23, -exponent - number % 32)


def marked_number(mark: float, exponent: int) -> int:
    """What `number_mark` was given."""
    mantissa, power = math.frexp(mark)
    return 1 - power - exponent + 32 * round((2 * mantissa - 1) * 2**23)


def encode(what: Scored | Lapse, num_tokens: int, scale: ProgressScale = _OF_J) -> list[Mark]:
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
    first, *levels = scale.levels(what.value_P).tolist()
    kept: list[tuple[int, float]] = []
    for end, level in zip(what.ends, levels, strict=True):
        token = min(end - 1, last)
        if kept and kept[-1][0] >= token:
            kept[-1] = (token, level)
        elif token > opening:
            kept.append((token, level))
    level_P = np.array([first, *(level for _, level in kept)])
    tag = 3 * what.cut_off + min(what.start, 2)
    marks = [
        (opening - 1, -number_mark(what.version, _VERSION_EXPONENT)),
        (opening, -math.ldexp(1.0 + scale.share(first) / 2, -_OPENING_EXPONENT - tag)),
    ]
    for (token, _), progress in zip(kept, progress_rewards(level_P).tolist(), strict=True):
        marks.append((token, NO_PROGRESS if abs(progress) < SMALLEST_PROGRESS else progress))
    return marks


def decode(reward_T: NDArray[np.floating], scale: ProgressScale = _OF_J) -> Record:
    """What a row says; `reward_T` ends with the response's last token, where the outcome is.

    Values come back as far as the scale tells them apart: what was below the floor of `log` is the floor.
    """
    num_tokens = len(reward_T)
    if num_tokens == 0:
        raise ValueError("expected the rewards of at least one token, got none")
    outcome = float(reward_T[-1])
    tokens = np.flatnonzero(reward_T[:-1]).tolist()
    if not tokens:
        return Record(None, outcome=outcome, num_tokens=num_tokens)
    first = float(reward_T[tokens[0]])
    if 0 < first < 2.0**-60:
        return Record(Lapse(round(-math.log2(first)) - _LAPSE_EXPONENT), outcome=outcome, num_tokens=num_tokens)
    if len(tokens) < 2 or not -(2.0 ** (1 - _VERSION_EXPONENT)) < first < 0:
        return Record(None, outcome=outcome, num_tokens=num_tokens)
    opening, rest = tokens[1], tokens[2:]
    mantissa, power = math.frexp(-float(reward_T[opening]))
    cut_off, offset = divmod(1 - power - _OPENING_EXPONENT, 3)
    progress_K = np.array([float(reward_T[token]) for token in rest])
    progress_K[np.abs(progress_K) < SMALLEST_PROGRESS] = 0.0
    ends = [token + 1 for token in rest]
    if cut_off and ends:
        ends[-1] = num_tokens
    level_P = scale.level_at(4 * mantissa - 2) + np.append(0.0, np.cumsum(progress_K))
    version = marked_number(-first, _VERSION_EXPONENT)
    scored = Scored(opening - 1 + offset, tuple(ends), scale.values(level_P), bool(cut_off), version)
    return Record(scored, outcome=outcome, num_tokens=num_tokens)


def encode_prefixed(row: Prefixed, num_tokens: int) -> list[Mark]:
    """Marks of a row; none if it is too short for them, and then it is left out.

    Raises:
        TraceError: the value is no success rate.

    """
    token = max(row.start, 1)
    if token > num_tokens - 2:
        return []
    if row.value is not None and not 0 <= row.value <= 1:
        raise TraceError(f"mrt_value_prefix must be in [0, 1], got {row.value}", param="mrt_value_prefix")
    tag = row.stop + 2 * (row.value is None) + 4 * (row.start > 0)
    group = number_mark(row.group, _GROUP_EXPONENT)
    return [(0, group), (token, -math.ldexp(1.0 + (row.value or 0.0) / 2, -_VALUE_EXPONENT - tag))]


def decode_prefixed(reward_T: NDArray[np.floating]) -> Record:
    """What a row says; `reward_T` ends with the response's last token, where the outcome is."""
    outcome, num_tokens = float(reward_T[-1]), len(reward_T)
    tokens = np.flatnonzero(reward_T[:-1]).tolist()
    if len(tokens) != 2 or tokens[0] != 0 or not reward_T[tokens[1]] < 0 < reward_T[0]:
        return Record(None, outcome=outcome, num_tokens=num_tokens)
    group = marked_number(float(reward_T[0]), _GROUP_EXPONENT)
    mantissa, exponent = math.frexp(-float(reward_T[tokens[1]]))
    tag = 1 - exponent - _VALUE_EXPONENT
    value = None if tag & 2 else 4 * mantissa - 2
    return Record(
        Prefixed(group, value, bool(tag & 1), tokens[1] if tag & 4 else 0), outcome=outcome, num_tokens=num_tokens
    )
