r"""Where the answer stands in a completion: linear-time text work that is safe on hostile input.

Nothing here interprets mathematics, and nothing here looks at more than a bounded tail of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mrt_reward.protocols import GradeItem

MAX_TAIL_CHARS = 20_000
"""Only this much of the end of a completion (or of the start of a boxed one) is looked at."""

MAX_ANSWER_CHARS = 2_000
"""A boxed answer longer than this is not judged as mathematics."""

_TOKEN = re.compile(r"(?P<box>\\(?:boxed|fbox)\s{0,8}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,8}\{")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a completion answers.

    Attributes:
        text: the content of the box, or the visible tail of the completion where there is no box.
        boxed: whether a box was found.

    """

    text: str
    boxed: bool


def first_braces(text: str) -> str | None:
    """Content of the first `{…}`; None when there is none or it never closes. Escaped braces do not count."""
    start, depth = -1, 0
    for token in _TOKEN.finditer(text[:MAX_TAIL_CHARS]):
        if token["box"] or token["open"]:
            if depth == 0:
                start = token.end()
            depth += 1
        elif token["close"] and depth:
            depth -= 1
            if depth == 0:
                return text[start : token.start()]
    return None


def last_boxed(text: str) -> str | None:
    r"""Content of the balanced `\boxed{…}` that opens last; None when there is none."""
    found: tuple[int, int] | None = None
    opened: list[tuple[int, bool]] = []
    for token in _TOKEN.finditer(text):
        if token["box"] or token["open"]:
            opened.append((token.end(), token["box"] is not None))
        elif token["close"] and opened:
            start, is_box = opened.pop()
            if is_box and (found is None or start > found[0]):
                found = (start, token.start())
    return None if found is None else text[found[0] : found[1]]


def find_answer(item: GradeItem) -> Answer | None:
    r"""The answer of an item; None when there is none.

    After a trusted `\boxed` it is the first balanced braces. Otherwise it is the last balanced box of what follows the
    last `</think>`, and without a box all of that text (at most `MAX_TAIL_CHARS` of it).
    """
    if item.boxed_prefix:
        content = first_braces(item.completion)
        return None if content is None or not content.strip() else Answer(content.strip(), boxed=True)
    start = item.completion.rfind("</think>")
    visible = item.completion if start < 0 else item.completion[start + len("</think>") :]
    tail = visible[-MAX_TAIL_CHARS:]
    content = last_boxed(tail)
    text = (tail if content is None else content).strip()
    return Answer(text, boxed=content is not None) if text else None


def clean(text: str) -> str:
    r"""An answer without the wrapping that says only that it is mathematics: `$…$`, `\(…\)`, `\[…\]`, `\boxed{…}`.

    It is idempotent.
    """
    text = text.strip()
    while True:
        bare = _unwrapped(text).strip()
        if bare == text or not bare:
            return text
        text = bare


def _unwrapped(text: str) -> str:
    for left, right in _WRAPPERS:
        if text.startswith(left) and text.endswith(right) and len(text) > len(left) + len(right):
            inner = text[len(left) : -len(right)]
            if left not in inner and right not in inner and not inner.endswith("\\"):
                return inner
    box = _BOX.match(text)
    if box is not None:
        inner = first_braces(text)
        if inner is not None and box.end() + len(inner) + 1 == len(text):
            return inner
    return text


def whole_text(item: GradeItem) -> str:
    r"""The completion as a reader would see it, with a trusted `\boxed` put back in front."""
    return rf"\boxed{item.completion}" if item.boxed_prefix else item.completion
