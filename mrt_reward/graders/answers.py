r"""Where the answer stands in a completion: linear-time text work that is safe on hostile input.

Nothing here interprets mathematics, and nothing here looks at more than a bounded tail of the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mrt_reward.protocols import GradeItem

MAX_TAIL_CHARS = 20_000
"""Only this much of the end of a completion (or of the start of a boxed one) is looked at."""

MAX_ANSWER_CHARS = 2_000
"""A boxed answer longer than this is not judged as mathematics."""

MAX_GAP_CHARS = 80
"""Boxes further apart than this are not parts of one answer."""

_TOKEN = re.compile(r"(?P<box>\\(?:boxed|fbox)\s{0,8}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_BOX = re.compile(r"\s*\\(?:boxed|fbox)\s{0,8}\{")
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a completion answers.

    Attributes:
        text: the content of the box, or the visible tail of the completion where there is no box.
        boxed: whether a box was found.
        boxes: contents of the boxes that stand close together at the end, the last of them included.
        around: the visible tail of the completion, boxes and all.

    """

    text: str
    boxed: bool
    boxes: tuple[str, ...] = field(default=(), compare=False)
    around: str = field(default="", compare=False)


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


def last_boxes(text: str) -> tuple[str, ...]:
    r"""Contents of the balanced boxes that end the text's boxes, each within `MAX_GAP_CHARS` of the one before it.

    The last is the one that opens last; a box around other boxes is none of them.
    """
    opened: list[tuple[int, int, bool]] = []
    spans: list[tuple[int, int, int]] = []
    for token in _TOKEN.finditer(text):
        if token["box"] or token["open"]:
            opened.append((token.start(), token.end(), token["box"] is not None))
        elif token["close"] and opened:
            opens, start, is_box = opened.pop()
            if is_box and not (spans and spans[-1][0] > opens):
                spans.append((opens, start, token.start()))
    first = len(spans) - 1
    while first > 0 and spans[first][0] - spans[first - 1][2] <= MAX_GAP_CHARS:
        first -= 1
    return tuple(text[start:end] for _, start, end in spans[max(first, 0) :])


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
    boxes = last_boxes(tail)
    text = (boxes[-1] if boxes else tail).strip()
    return Answer(text, boxed=bool(boxes), boxes=boxes, around=tail) if text else None


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
    return _unboxed(text) if _BOX.match(text) else text


def _unboxed(text: str) -> str:
    """Without the boxes that hold all of the text, however many stand in each other; looks at each character once."""
    closed_at: dict[int, int] = {}
    opened: list[int] = []
    for token in _TOKEN.finditer(text):
        if token["box"] or token["open"]:
            opened.append(token.end())
        elif token["close"] and opened:
            closed_at[opened.pop()] = token.start()
    start, end = 0, len(text)
    while (box := _BOX.match(text, start, end)) and closed_at.get(box.end()) == end - 1:
        start, end = box.end(), end - 1
        while end > start and text[end - 1].isspace():
            end -= 1
    return text[start:end]


def whole_text(item: GradeItem) -> str:
    r"""The completion as a reader would see it, with a trusted `\boxed` put back in front."""
    return rf"\boxed{item.completion}" if item.boxed_prefix else item.completion
