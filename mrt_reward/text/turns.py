r"""The end of a prompt: what follows the header of its last turn, and whether thinking is open there.

A user may write `<think>` as well as a template does, so only the assistant's own turn counts. It is found in two ways:

1. By control tokens: what follows the last of them that parts turns (`turn_words`) is the last turn, and thinking is
   open where an opening delimiter without a closing one stands in it. ChatML, Llama 3, Gemma, DeepSeek and their like.
2. By words, in the part that is plain text: `Assistant:`, `[/INST]`, `### Response:`. There an opening delimiter counts
   if the assistant is the last who was announced before it, whatever follows it (a prompt may hold the beginning of the
   thinking); if nothing but white space follows it up to the end of the prompt; or if it stands alone on its line and
   nobody is announced after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mrt_reward.options import Delimiters
from mrt_reward.types import TokenIds

HEADER_TOKENS = 4
"""Longest header between two turn tokens, as in `<|start_header_id|>assistant<|end_header_id|>`."""

_TAG = re.compile(r"</?(\w+)>")
_ASSISTANT, _USER = r"assistant|model|chatbot(?:_token)?|bot|gpt|ai", r"user|human|system|tool|developer|observation"
_LINE_ASSISTANT, _LINE_USER = r"response|answer|solution|a", r"question|problem|instruction|input|task|q"
_BEFORE, _AFTER = "[<>|\uff5c\\[]", "(?=[|\uff5c>\\]\n<])"
_HEADERS = rf"""
    (?P<assistant> \[/INST\] | {_BEFORE}(?:{_ASSISTANT}){_AFTER}
        | (?<![\w-])(?:{_ASSISTANT})\s?: | ^[ #*]{{0,8}}(?:{_LINE_ASSISTANT})\s?:)
    | (?P<user_token> {_BEFORE}(?:{_USER}){_AFTER})
    | (?P<user> \[INST\] | (?<![\w-])(?:{_USER})\s?: | ^[ #*]{{0,8}}(?:{_LINE_USER})\s?:)
"""
_ONE_WORD = re.compile(r"\s*[\w-]{0,40}\s*:?\s*")


def turn_words(spec: Mapping[str, Any]) -> dict[int, str]:
    """Control tokens that part turns, by id, from a tokenizer.json.

    These are all added tokens but the pairs `<name>` and `</name>` that are not special: a model writes these in the
    middle of its turn (`<tool_call>`).
    """
    added = {int(each["id"]): (str(each["content"]), bool(each["special"])) for each in spec["added_tokens"]}
    plain = {word for word, special in added.values() if not special}

    def is_tag(word: str) -> bool:
        tag = _TAG.fullmatch(word)
        return tag is not None and {f"<{tag[1]}>", f"</{tag[1]}>"} <= plain

    return {token: word for token, (word, special) in added.items() if special or not is_tag(word)}


@dataclass(frozen=True, slots=True)
class Tail:
    """The last turn of a prompt.

    Attributes:
        first: index of the prompt's token that `text` starts with.
        text: of the last turn, its header included, control tokens written out.
        char_ends: for each token from `first` on, characters of `text` that are complete once it is there.
        start: where in `text` the last turn token ends; 0 if there is none.

    """

    first: int
    text: str
    char_ends: TokenIds
    start: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a prompt ends.

    Attributes:
        opened: whether thinking is open.
        empty_block: where in the tail's text an empty thinking block begins that ends the prompt; None without one.
        bare_close: the same of a closing delimiter that closes nothing.

    """

    opened: bool
    empty_block: int | None = None
    bare_close: int | None = None


def tail_of(
    ids: Sequence[int] | TokenIds,
    words: Mapping[int, str],
    locate: Callable[[TokenIds], tuple[str, TokenIds]],
    delimiters: Delimiters,
) -> Tail:
    """The last turn of a prompt.

    Args:
        ids: of the prompt.
        words: `turn_words` of its tokenizer; those that the delimiters are made of part nothing here.
        locate: text of ids, control tokens written out, and how many characters are complete after each.
        delimiters: of the thinking.

    """
    own = f"{delimiters.open}\0{delimiters.close}"
    parting = [token for token, word in words.items() if word not in own]
    all_ids = np.asarray(ids, np.int32)
    turns = np.flatnonzero(np.isin(all_ids, parting))
    first, last = 0, -1
    if turns.size:
        first = last = int(turns[-1])
        if turns.size > 1 and last - turns[-2] <= HEADER_TOKENS:
            first = int(turns[-2])
    text, char_ends = locate(all_ids[first:])
    return Tail(first, text, char_ends, int(char_ends[last - first]) if last >= 0 else 0)


def ending(tail: Tail, delimiters: Delimiters) -> Ending:
    """How the prompt ends. Linear in the tail."""
    text, end = tail.text, len(tail.text.rstrip())
    opened, sure, speaker, closed_at = False, False, "", -1
    for found in _pattern(delimiters).finditer(text):
        at = found.start()
        if found["close"]:
            opened, closed_at = False, at if opened else closed_at
        elif found["open"]:
            if at >= tail.start and not opened:
                sure = speaker == "assistant" or _only_a_header(tail, at, speaker)
                likely = found.end() >= end or _alone_on_its_line(text, at, found.end())
                opened = sure or (likely and speaker != "user_token")
        elif not (opened and sure):
            opened, speaker = False, str(found.lastgroup)
    if opened or not delimiters.close or not text.endswith(delimiters.close, tail.start, end):
        return Ending(opened)
    at = end - len(delimiters.close)
    inside = text[tail.start : at].rstrip()
    if delimiters.open and inside.endswith(delimiters.open):
        return Ending(opened=False, empty_block=tail.start + len(inside) - len(delimiters.open))
    return Ending(opened=False, bare_close=None if closed_at == at else at)


def _only_a_header(tail: Tail, at: int, speaker: str) -> bool:
    """Whether a turn token and at most one word, the role, come before."""
    return bool(tail.start and not speaker.startswith("user") and _ONE_WORD.fullmatch(tail.text, tail.start, at))


def _alone_on_its_line(text: str, start: int, end: int) -> bool:
    return text.endswith("\n", 0, start) and text.startswith("\n", end)


@lru_cache(maxsize=64)
def _pattern(delimiters: Delimiters) -> re.Pattern[str]:
    """Delimiters and headers, in the order of the text; an empty delimiter is nowhere."""
    opener, closer = (f"{re.escape(each)}" if each else "(?!)" for each in (delimiters.open, delimiters.close))
    return re.compile(f"(?-x:(?P<open>(?-i:{opener}))|(?P<close>(?-i:{closer})))|{_HEADERS}", re.I | re.M | re.X)
