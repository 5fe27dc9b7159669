"""A record of scoring as the flat list of numbers that OpenRLHF carries beside a sample.

`extra_logs` of a rollout become float32 rows of a tensor, padded with zeros on the right. So counts and indices are
whole numbers below 2^24, which float32 holds exactly, and a row says by itself how long it is. A time of the day is
good to a millisecond.

    kind, tokens of the response, latency_s, waited_s, rewarded_at (two numbers), probes, cached probes,
    computed tokens, proved tokens, prover
    + version (two numbers), start, cut off, K, K ends, K + 1 values      where it was scored, each value as mantissa
                                                                          and exponent: it may be less than 1e-38
    + lapse                                                               where it was not
    + group (two numbers), has value, value, stop, start                  of a row of prefixes
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mrt_reward.training.records import Lapse, Prefixed, Record, Scored

KEY = "mrt"
"""Name of the row among a sample's `extra_logs`."""

_SCORED, _LAPSE, _PREFIXED = 1, 2, 3
_HEAD = 11
_EXACT, _HALF = 2**24, 2**14


def pack(record: Record, num_tokens: int) -> list[float]:
    """Numbers that say what a record says; its reason stays where it was logged."""
    prover = 0 if record.prover is None else 1 + zlib.crc32(record.prover.encode()) % (_EXACT - 1)
    match record.what:
        case Scored() as what:
            numbers = [*divmod(what.version, _HALF), what.start, what.cut_off, len(what.ends), *what.ends]
            kind, body = _SCORED, [*numbers, *(part for value in what.value_P.tolist() for part in math.frexp(value))]
        case Prefixed() as what:
            record_read = [what.value is not None, what.value or 0.0, what.stop, what.start]
            kind, body = _PREFIXED, [*divmod(what.group, _HALF), *record_read]
        case Lapse() as what:
            kind, body = _LAPSE, [what.value]
        case None:
            raise ValueError("expected a record of scoring, got one that nobody tried to score")
    counts = [record.probes, record.cached_probes, record.computed_tokens, record.proved_tokens]
    at = divmod(record.rewarded_at, _HALF) if math.isfinite(record.rewarded_at) else (0, 0)
    head = [kind, num_tokens, record.latency_s, record.waited_s, *at, *counts, prover]
    return [float(number) for number in (*head, *body)]


def unpack(row: Sequence[float]) -> tuple[Record, int]:
    """Record, and how many tokens its response had.

    Raises:
        ValueError: these are no numbers of `pack`, such as the zeros of a sample that brought none.

    """
    kind, num_tokens, latency_s, waited_s, *more, prover = row[:_HEAD]
    whole, rest, *counts = more
    body = row[_HEAD:]
    what: Scored | Lapse | Prefixed
    if kind == _SCORED:
        num = int(body[4])
        ends, parts = body[5 : 5 + num], body[5 + num : 7 + 3 * num]
        value_P = np.ldexp(np.array(parts[::2], np.float64), np.array(parts[1::2], np.int64))
        what = Scored(int(body[2]), tuple(map(int, ends)), value_P, bool(body[3]), _whole(body))
    elif kind == _LAPSE:
        what = Lapse(int(body[0]))
    elif kind == _PREFIXED:
        what = Prefixed(_whole(body), body[3] if body[2] else None, bool(body[4]), int(body[5]))
    else:
        raise ValueError(f"expected a record of kind 1 to 3, got {kind:g}")
    record_read = Record(what, "", str(int(prover)) if prover else None, latency_s, *map(int, counts))
    at = whole * _HALF + rest if whole else math.nan
    return replace(record_read, waited_s=waited_s, rewarded_at=at), int(num_tokens)


def _whole(halves: Sequence[float]) -> int:
    """A number of up to 28 bits from its halves, which come first."""
    return int(halves[0]) * _HALF + int(halves[1])
