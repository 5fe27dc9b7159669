"""What stands around a text and is not of it: padding, end-of-turn tokens, byte order marks, carriage returns.

Tokens of the reader's own tokenizer are known by name; those of other families, which reach it as plain text, by their
shape and by what their name says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np

from mrt_reward.types import TokenIds

BYTE_ORDER_MARK = "\ufeff"

_MAX_WORD = 60
_NAMED_END = re.compile(r"end|eos|eot|eom|pad|return|stop", re.I)
_SHAPES = (
    r"<\|[^<>|\s]{1,40}\|>",
    "<\uff5c[^<>\uff5c\\s]{1,40}\uff5c>",
    r"</s>",
    r"<(?:eos|pad|end_of_turn)>",
    r"\[(?:PAD|EOS)\]",
)
_WORD = re.compile("|".join(_SHAPES))
_BEGIN = re.compile(
    r"<s>|<bos>|\[BOS\]|<\|begin_of_text\|>|<\|startoftext\|>|<\uff5cbegin\u2581of\u2581sentence\uff5c>"
)


def is_end(word: str) -> bool:
    """Whether a control word of any family ends a turn or a text, or pads."""
    return word == "</s>" or bool(_WORD.fullmatch(word) and _NAMED_END.search(word))


def end_without_ends(text: str, start: int = 0, words: Collection[str] = ()) -> int:
    """Where `text[start:]` ends without the end-of-turn and padding tokens behind it, and the white space among them.

    Args:
        text: of a model.
        start: what is before stays.
        words: control words of the reader's own tokenizer; those of other families are known anyhow.

    """
    end = len(text)
    while True:
        stop = end
        while stop > start and text[stop - 1].isspace():
            stop -= 1
        if stop == start or text[stop - 1] not in ">]":
            return end
        word = _last_word(text, max(start, stop - _MAX_WORD), stop)
        if word not in words and not is_end(word):
            return end
        end = stop - len(word)


def _last_word(text: str, low: int, stop: int) -> str:
    """What may be a control word at the end; empty if nothing."""
    at = text.rfind("<" if text[stop - 1] == ">" else "[", low, stop)
    return text[at:stop] if at >= 0 else ""


def start_without_padding(text: str) -> int:
    """Where `text` starts without the padding, and the beginning-of-text tokens, before it."""
    start, before = 0, ""
    while True:
        found = _BEGIN.match(text, start) or _WORD.match(text, start)
        if found is None:
            return start
        word = str(found[0])
        again = text.startswith(word, found.end())
        # No template begins with the same control word twice, so that a run of it is padding whatever its name.
        if not (_BEGIN.fullmatch(word) or is_end(word) or again or word == before):
            return start
        start, before = found.end(), word


def ids_without_padding(ids: TokenIds, words: Mapping[int, str], bos_id: int | None) -> TokenIds:
    """A prompt's ids without the padding on their left; a beginning-of-text token that also pads is left once.

    Args:
        ids: of the prompt.
        words: control words of its tokenizer, by id.
        bos_id: the token that begins a text, where the tokenizer has one.

    """
    others = np.flatnonzero(ids != ids[0]) if len(ids) else np.empty(0, np.intp)
    run = int(others[0]) if others.size else len(ids)
    # A prompt that is nothing else stays as it is.
    if run in (0, len(ids)) or int(ids[0]) not in words:
        return ids
    if int(ids[0]) == bos_id:
        return ids[run - 1 :]
    return ids[run:] if run > 1 or is_end(words[int(ids[0])]) else ids


def plain(text: str) -> str:
    """The text without a byte order mark, its lines ended by line feeds alone."""
    return text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n")


def unfolded_ends(text: str, folded_ends: TokenIds) -> TokenIds:
    """Offsets in `text` from offsets in the same text with line feeds instead of CRLF."""
    breaks = np.array([found.start() for found in re.finditer("\r\n", text)], np.int64)
    line_feeds = breaks - np.arange(len(breaks))
    return (folded_ends + np.searchsorted(line_feeds, folded_ends, side="left")).astype(np.int32)
