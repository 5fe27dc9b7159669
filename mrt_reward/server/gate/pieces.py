"""JSON read piece by piece, so that nothing holds the interpreter for long.

The parser keeps all other threads from running, the event loop among them, until it is done: a tenth of a second for
31 MB of escapes. So a large text is cut where its structure allows it, between
the members of lists and objects and within long strings, and the interpreter is free after each piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, cast

import jiter
import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 524_288
PIECE_MARKS = 20_000
"""Most of a text, and of its commas, colons and brackets, that is parsed in one go: about 3 ms."""

_BLANK = b" \t\r\n"
_NUMBER = b"-0123456789"
_QUOTE, _COMMA, _COLON = b'",:'
# How a byte changes the level of nesting.
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1
_IS_MARK = _STEP != 0
_IS_MARK[[_COMMA, _COLON]] = True
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB]..")


class Broken(ValueError):
    """A text that is not JSON.

    Args:
        message: of the parser, with offsets counted from the piece's beginning.
        piece: of the text.
        start: its first byte in the text.

    """

    def __init__(self, message: str, piece: bytes, start: int) -> None:
        super().__init__(message)
        self.piece = piece
        self.start = start


class Part(NamedTuple):
    """A stretch of the text, and which of the marks stand in it."""

    start: int
    end: int
    first: int
    last: int

    @property
    def small(self) -> bool:
        """Whether it may be parsed in one go."""
        return self.end - self.start <= PIECE_BYTES and self.last - self.first <= PIECE_MARKS


def read(text: bytes) -> object:
    """The value that a JSON text spells; deeper than a few hundred levels it cannot be read.

    Raises:
        Broken: it is not JSON, names a key of an object twice, or holds NaN, an infinity or a lone surrogate.

    """
    if len(text) <= PIECE_BYTES and text.count(b",") <= PIECE_MARKS:
        return _parsed(text, text, 0)
    large = _Large(text)
    return large.value(Part(0, len(text), 0, len(large.at)))


def _parsed(piece: bytes, text: bytes, start: int) -> object:
    try:
        return jiter.from_json(piece, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise Broken(str(error), text, start) from error


class _Large:
    """A text with its marks: the commas, colons and brackets outside of strings.

    Args:
        text: what may be JSON.

    Attributes:
        at: byte of each mark.

    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        found = list(_marks(text))
        self.at = np.concatenate([at for at, _, _ in found])
        self._kind = np.concatenate([kind for _, kind, _ in found])
        self._level = np.concatenate([level for _, _, level in found])

    def value(self, part: Part) -> object:
        """The one value that a part spells."""
        if part.small:
            return self._piece(part)
        inner = self._inner(part)
        if inner is not None:
            return self._list(inner) if self._kind[part.first] == ord("[") else self._object(inner)
        text = self._text[part.start : part.end].strip(_BLANK)
        if len(text) > 1 and text[0] == text[-1] == _QUOTE:
            return self._string(text[1:-1], part.start)
        if part.first == part.last and (len(text) <= PIECE_BYTES or text[0] in _NUMBER):
            return _parsed(text, text[:PIECE_BYTES], part.start)
        raise self._broken("expected value", part)

    def _piece(self, part: Part, before: bytes = b"", after: bytes = b"") -> object:
        piece = self._text[part.start : part.end]
        return _parsed(before + piece + after, piece, part.start)

    def _broken(self, message: str, part: Part) -> Broken:
        return Broken(message, self._text[part.start : min(part.end, part.start + PIECE_BYTES)], part.start)

    def _inner(self, part: Part) -> Part | None:
        """What stands between the brackets of a list or an object; None where the part is neither."""
        if part.last - part.first < 2:
            return None
        start, end = int(self.at[part.first]), int(self.at[part.last - 1])
        pair = bytes((self._kind[part.first], self._kind[part.last - 1]))
        around = self._text[part.start : start] + self._text[end + 1 : part.end]
        own = self._level[part.first : part.last] == self._level[part.first]
        closes = _STEP[self._kind[part.first : part.last]] < 0
        if pair not in (b"[]", b"{}") or around.strip(_BLANK) or np.count_nonzero(own & closes) != 1:
            return None
        return Part(start + 1, end, part.first + 1, part.last - 1)

    def _members(self, inner: Part) -> Iterator[tuple[Part, int]]:
        """Runs of members that are small together, or one that is not, and how many each holds; none of a blank."""
        if inner.first == inner.last and not self._text[inner.start : inner.end].strip(_BLANK):
            return
        marks = slice(inner.first, inner.last)
        own = self._level[marks] == self._level[inner.first - 1]
        commas = inner.first + np.flatnonzero(own & (self._kind[marks] == _COMMA))
        ends, lasts = np.append(self.at[commas], inner.end), np.append(commas, inner.last)
        start, first, done = inner.start, inner.first, 0
        while done < len(ends):
            fitting = np.searchsorted(ends, start + PIECE_BYTES, "right")
            fitting = min(fitting, np.searchsorted(lasts, first + PIECE_MARKS, "right"))
            upto = max(int(fitting), done + 1)
            yield Part(start, int(ends[upto - 1]), first, int(lasts[upto - 1])), upto - done
            start, first, done = int(ends[upto - 1]) + 1, int(lasts[upto - 1]) + 1, upto

    def _list(self, inner: Part) -> list[object]:
        values: list[object] = []
        for part, num in self._members(inner):
            new = cast("list[object]", self._piece(part, b"[", b"]")) if part.small else [self.value(part)]
            if len(new) != num:
                raise self._broken("expected value", part)
            values += new
        return values

    def _object(self, inner: Part) -> dict[str, object]:
        fields: dict[str, object] = {}
        for part, num in self._members(inner):
            new = cast("dict[str, object]", self._piece(part, b"{", b"}")) if part.small else self._field(part)
            if len(new) != num:
                raise self._broken("expected a key and a value", part)
            twice = fields.keys() & new.keys()
            if twice:
                raise self._broken(f"Detected duplicate key {min(twice)!r:.100}", part)
            fields.update(new)
        return fields

    def _field(self, part: Part) -> dict[str, object]:
        if part.first == part.last or self._kind[part.first] != _COLON:
            raise self._broken("expected a key and a value", part)
        colon = int(self.at[part.first])
        key = self.value(Part(part.start, colon, part.first, part.first))
        if not isinstance(key, str):
            raise self._broken("expected a key, which is text", part)
        return {key: self.value(Part(colon + 1, part.end, part.first + 1, part.last))}

    def _string(self, text: bytes, start: int) -> str:
        pieces: list[str] = []
        done = 0
        while done < len(text):
            piece = _whole_characters(text[done : done + PIECE_BYTES + 4])
            pieces.append(cast("str", _parsed(b'"' + piece + b'"', piece, start + done)))
            done += len(piece)
        return "".join(pieces)


def _whole_characters(text: bytes) -> bytes:
    """The beginning of what stands between quotes, at most `PIECE_BYTES`, cut within no escape and no character."""
    if len(text) <= PIECE_BYTES:
        return text
    # In pairs from the left, so that what is left begins an escape of another kind, or is the first half of a pair.
    plain = text[:PIECE_BYTES].replace(b"\\\\", b"..")
    cut = len(plain)
    escape = plain.rfind(b"\\", cut - 6)
    if escape >= 0 and escape + (6 if plain[escape + 1 : escape + 2] == b"u" else 2) > cut:
        cut = escape
    if _HIGH_SURROGATE.fullmatch(plain, cut - 6, cut):
        cut -= 6
    while cut > PIECE_BYTES - 16 and text[cut] & 0xC0 == 0x80:
        cut -= 1
    return text[:cut]


def _marks(text: bytes) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.int8]]]:
    """Byte, kind and level of each mark, a piece at a time; a bracket is on the level that it encloses."""
    inside, level, escaped = 0, 0, False
    for start in range(0, len(text), PIECE_BYTES):
        piece = text[start : start + PIECE_BYTES]
        plain = (b"." + piece[1:] if escaped else piece).replace(b"\\\\", b"..").replace(b'\\"', b"..")
        escaped = plain.endswith(b"\\")
        bytes_ = np.frombuffer(plain, np.uint8)
        quoted = inside + np.cumsum(bytes_ == _QUOTE, dtype=np.int64)
        inside = int(quoted[-1]) % 2
        at = np.flatnonzero(_IS_MARK[bytes_] & (quoted % 2 == 0))
        kind = bytes_[at]
        step = _STEP[kind]
        levels = level + np.cumsum(step, dtype=np.int64)
        if levels.size:
            level = int(levels[-1])
            if levels.min() < 0:
                raise Broken("a bracket closes nothing that was opened", piece, start)
        yield start + at, kind, (levels - np.minimum(step, 0)).astype(np.int8)
