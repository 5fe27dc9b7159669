"""A value as a store keeps it: JSON, and read back only when it is a value in every respect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import TypeAdapter

from mrt_reward.types import Value

Key = bytes
ENTRY_BYTES = 400
"""Measured size of one entry in memory: key, record and their share of the table."""

ANSWER_BYTES = 200
"""Of one kept answer beside its text, about."""

VERDICT_BYTES = 8
"""Of one verdict that is kept in its order."""

SCORE_BYTES = 32
"""Of one score: a number, and its index."""

_VALUE = TypeAdapter(Value)


class Records(Protocol):
    """Where records are kept: a file, or a server. Every method raises what goes wrong, and is safe from any thread."""

    max_batch_bytes: int
    max_batch_rows: int
    """What one call of `write` should bring at most."""

    @property
    def where(self) -> str:
        """What the log may call it: it holds no secret."""
        ...

    def read(self, keys: Sequence[Key]) -> dict[Key, object]:
        """The records that are there, as they are; no keys see that it can be used."""
        ...

    def write(self, records: Mapping[Key, bytes]) -> None:
        """Add records."""
        ...

    def clear(self) -> None:
        """Delete all records."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def size_of(value: Value) -> int:
    """Bytes of one entry in memory, about."""
    answers = sum(ANSWER_BYTES + len(answer.text) for answer in value.answers or ())
    return ENTRY_BYTES + answers + VERDICT_BYTES * len(value.verdicts or ()) + SCORE_BYTES * len(value.scores or ())


def record_of(value: Value) -> bytes | None:
    """What is stored; None where it could not be read back, such as text with a lone surrogate."""
    try:
        return _VALUE.dump_json(value)
    except ValueError:
        return None


def value_of(record: object) -> Value | None:
    """The value of a record; None where it is none: no JSON, a field of another type, a number out of its range."""
    if not isinstance(record, bytes):
        return None
    try:
        value = _VALUE.validate_json(record, strict=True)
    except ValueError:
        return None
    rates = (value.value, value.stderr, value.low, value.high)
    counts = (value.correct, value.incorrect, value.unparsed, value.ungraded, value.answer_tokens)
    # Written so that NaN, which no comparison holds for, is out of range as well.
    in_range = all(rate is not None and 0 <= rate <= 1 for rate in rates)
    return value if in_range and all(count is None or 0 <= count < float("inf") for count in counts) else None
