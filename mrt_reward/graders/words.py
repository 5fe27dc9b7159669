r"""Golds that are words: `Evelyn`, `\text{odd}`, `no solution`, `ABCD`. Their letters are in an order.

A computer algebra system reads `ABCD` as a product of four symbols, which `DCBA` equals.
"""

from __future__ import annotations

import re

from mrt_reward.graders.choices import unwrapped

_WORDS = re.compile(r"[^\W\d_]+(?:[ '.-]{1,2}[^\W\d_]+)*")
_LEAD_IN = re.compile(r"(?:(?:the )?(?:(?:final|correct) )?answer(?: is|:)+) ?", re.IGNORECASE)
_MATHEMATICS = frozenset(
    (
        *("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sinh", "cosh", "tanh", "arcsin", "arccos"),
        *("arctan", "sqrt", "pi", "max", "min", "gcd", "lcm", "det", "inf", "infty", "infinity"),
    )
)
_SHORT = frozenset(
    (
        *("no", "on", "up", "so", "if", "is", "in", "at", "by", "an", "as", "it", "or", "to", "we", "he", "me", "my"),
        *("us", "do", "go", "ne", "nw", "se", "sw"),
    )
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|normal)?|mbox)\s?\{")
_AND = re.compile(r" ?, ?and | and | ?[,;&] ?")
_NUMERALS: dict[str, str] = dict(
    zip(
        (*("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
         *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty")),
        map(str, range(21)), strict=True,
    )
)  # fmt: skip
MIN_LETTERS = 3


def words_agree(answer: str, gold: str) -> bool | None:
    """Whether an answer is the gold's words, up to case and white space; None where the gold is mathematics.

    A gold is words where it is more than two letters without digits, operators or commands; two letters are where
    they are marked as text or are an English word. A list of words is a set.
    """
    golds = _items(gold)
    if golds is None or not _is_text(gold, golds):
        return None
    return _items(answer) == golds


def in_digits(text: str) -> str:
    """A number that is written as one word, `seventeen`, in digits; any other text as it is."""
    return _NUMERALS.get(unwrapped(text).strip(" .").casefold(), text)


def _items(text: str) -> frozenset[str] | None:
    """The words of a text, a set of them where it lists several; None where it is something else than words."""
    text = unwrapped(text).strip(" .,;:!?\"'")
    text = _LEAD_IN.sub("", text, count=1) if _LEAD_IN.match(text) else text
    items = [item.strip() for item in _AND.split(text)]
    if not all(_WORDS.fullmatch(item) for item in items):
        return None
    return frozenset("".join(filter(str.isalpha, item.casefold())) for item in items)


def _is_text(gold: str, golds: frozenset[str]) -> bool:
    bare = unwrapped(gold)
    words = bare.replace("-", " ").split()
    if any(word.casefold() in _MATHEMATICS for word in words):
        return False
    marked = _TEXT.search(gold) is not None or not bare.isascii()
    if all(len(word) == 1 for word in words):
        return marked and len(words) == 1 and not bare.isascii()
    letters = sum(map(len, golds))
    return letters >= MIN_LETTERS or marked or bare.casefold() in _SHORT
