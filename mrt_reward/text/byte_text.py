"""Text of token bytes, one token at a time: where characters end when a token may hold a part of one."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

import numpy as np

from mrt_reward.errors import TraceError
from mrt_reward.types import TokenIds


def locate_bytes(pieces: Iterable[bytes]) -> tuple[str, TokenIds]:
    """Text of the pieces put together, and how many of its characters are complete after each (`TokenizedText`).

    Bytes that are not UTF-8 are shown as U+FFFD, as in `b"".join(pieces).decode(errors="replace")`. Linear time.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    texts: list[str] = []
    char_ends: list[int] = []
    num_chars = 0
    for piece in pieces:
        text = decoder.decode(piece)
        texts.append(text)
        num_chars += len(text)
        char_ends.append(num_chars)
    texts.append(decoder.decode(b"", final=True))
    if char_ends:
        char_ends[-1] += len(texts[-1])
    return "".join(texts), np.array(char_ends, np.int32)


def locate_unprefixed(pieces: Iterable[bytes]) -> tuple[str, TokenIds]:
    """As `locate_bytes`, for a tokenizer that puts a space before every text: that one space is left out."""
    text, char_ends = locate_bytes(pieces)
    if not text.startswith(" "):
        return text, char_ends
    return text[1:], np.maximum(char_ends - 1, 0).astype(np.int32)


def refuse_surrogates(text: str, param: str) -> None:
    """Python strings can hold half a surrogate pair, which no tokenizer can read.

    Raises:
        TraceError: there is one; says where.

    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TraceError(
            f"{param} holds a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}, which is not "
            "Unicode text; decode the bytes with errors='replace', or remove it",
            param=param,
        ) from error
