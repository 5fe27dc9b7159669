r"""A gold answer as graders and spellings read it: the answer itself, out of whatever a data set wraps around it.

    whole solution → its final box, `#### 42`, `Answer: 42` → `$…$` → full stop → `42`

Sets, intervals, lists of numbers, matrices and words are answers themselves and stay as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from mrt_reward.graders.answers import clean

_MAX_PASSES = 8
_MAX_PLAIN_DIGITS = 40

_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")
_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox)\s{0,8}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s{1,8}([^\s{}$\\.,;]{1,40})")
_GLUE = re.compile(
    r"(?:[\s$,;&~]|\\[,;: ]|\\q?quad\b|\b(?:and|or)\b|\\text\s?\{\s*(?:and|or)\s*\}|[A-Za-z]\w?\s?=)*", re.IGNORECASE
)
_LABEL = re.compile(
    r"[*_#]{0,6}\s?\b(?:the\s)?(?:(?:final|correct|right|exact)\s)?(?:answer|ans)\b[*_]{0,3}\s?"
    r"(?::|=|is\b:?|\n)\s?[*_]{0,3}",
    re.IGNORECASE,
)
_HOPE = re.compile(r"I hope (?:it|this) is correct\.?\s*$", re.IGNORECASE)
_OPTION = re.compile(r"(?:option|choice)\s*(\(?[A-Z]\)?)", re.IGNORECASE)
_ANSWER_TAG = re.compile(r"<answer>(.*)</answer>\s*", re.DOTALL | re.IGNORECASE)
_LISTED = re.compile(r"\[\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)')\s*\]", re.DOTALL)
_QUOTED = re.compile(r"([\"'])(?=[^A-Za-z\"']*[0-9\\])([^\"']+)\1")
_EMPHASIS = re.compile(r"\*\*([^*]+)\*\*|`([^`]+)`")
_DOLLAR = re.compile(r"(?<!\\)\$")
_PARENTHESIS = re.compile(r"(?<!\\)\\([()])")
_ABBREVIATED = re.compile(r"(?:\.\.|\b[A-Za-z]\.\s?[A-Za-z]|\\right|\\left|\\)$")
_SCIENTIFIC = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})[eE][+-]?[0-9]{1,3}")


def read_gold(text: str) -> str:
    r"""The answer that a gold text means.

    Read out are the final box of a whole solution (boxes that stand together are one list), what follows the last
    `####`, `Answer:` or `the answer is`, what `<answer>`, `**…**` or a list of one text such as `["42"]` holds. Removed
    are mathematical wrapping, carriage returns and other white space around it, and the full stop. A number with an
    exponent is written out (`1e-05` is `0.00001`). It is idempotent, and blank only where the text is.
    """
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n").replace("\N{NO-BREAK SPACE}", " ")).strip()
    for _ in range(_MAX_PASSES):
        before = text
        for step in _STEPS:
            text = step(text).strip() or text
        if text == before:
            break
    return " ".join(text.split())


def _boxed(text: str) -> str:
    """The final box, together with those that stand with it: nothing but commas, `and`, `x =` between them."""
    boxes = [box for box in _boxes(text) if text[box.start : box.end].strip()]
    if not boxes:
        bare = _BARE_BOX.search(text)
        return text if bare is None else bare[1]
    first = len(boxes) - 1
    while first and _GLUE.fullmatch(text, boxes[first - 1].end + 1, boxes[first].opens):
        first -= 1
    return ", ".join(text[box.start : box.end].strip() for box in boxes[first:])


@dataclass(frozen=True, slots=True)
class _Box:
    r"""Where `\boxed{` opens, and its content."""

    opens: int
    start: int
    end: int


def _boxes(text: str) -> list[_Box]:
    """The balanced boxes that stand in no other, in order."""
    boxes: list[_Box] = []
    opened: list[re.Match[str]] = []
    for brace in _BRACE.finditer(text):
        if brace["box"] or brace["open"]:
            opened.append(brace)
        elif brace["close"] and opened:
            left = opened.pop()
            if left["box"]:
                while boxes and boxes[-1].opens > left.start():
                    boxes.pop()
                boxes.append(_Box(left.start(), left.end(), brace.start()))
    return boxes


def _hashed(text: str) -> str:
    _, mark, rest = text.rpartition("####")
    return rest if mark and rest.strip() and "\n" not in rest.strip() else text


def _labelled(text: str) -> str:
    """What follows the last `Answer:` or `the answer is`, where that is one line."""
    text = _HOPE.sub("", text).removeprefix("=")
    labels = list(_LABEL.finditer(text))
    if not labels:
        return text
    rest = text[labels[-1].end() :].strip()
    if not rest or "\n" in rest or rest.count("{") != rest.count("}"):
        return text
    return rest.removesuffix("**") if rest.count("**") % 2 else rest


def _tagged(text: str) -> str:
    start = text.lower().rfind("<answer>")
    tag = _ANSWER_TAG.fullmatch(text, start) if start >= 0 else None
    return text if tag is None else tag[1]


def _only_listed(text: str) -> str:
    """The one text of a list such as `["42"]`, or of quotes around mathematics, as JSON or Python writes it."""
    if quoted := _QUOTED.fullmatch(text):
        return quoted[2]
    match = _LISTED.fullmatch(text)
    if match is None:
        return text
    inner = match[1] if match[1] is not None else match[2]
    try:
        read = str(json.loads(f'"{inner}"'))
    except ValueError:
        return inner
    # `\frac` is JSON for a form feed and `rac`: whoever wrote it meant LaTeX.
    return inner if any(ord(char) < 0x20 for char in read) else read


def _emphasised(text: str) -> str:
    match = _EMPHASIS.fullmatch(text)
    return text if match is None else match[1] or match[2]


def _option(text: str) -> str:
    match = _OPTION.fullmatch(text)
    return text if match is None else match[1]


def _without_delimiters(text: str) -> str:
    """Without what delimits formulas inside a text, as in `$3$ and $5$`. One dollar alone is a currency."""
    text = _DOLLAR.sub("", text) if len(_DOLLAR.findall(text)) % 2 == 0 else text
    sides = _PARENTHESIS.findall(text)
    return _PARENTHESIS.sub("", text) if sides.count("(") * 2 == len(sides) else text


def _without_stop(text: str) -> str:
    r"""Without the full stop of a sentence; that of `\right.`, of an ellipsis or of an abbreviation stays."""
    shorter = text[:-1].rstrip() if text.endswith((".", "。")) else text
    return text if _ABBREVIATED.search(shorter[-12:]) else shorter


def _written_out(text: str) -> str:
    if _SCIENTIFIC.fullmatch(text) is None:
        return text
    number = Decimal(text)
    return format(number, "f") if abs(number.adjusted()) < _MAX_PLAIN_DIGITS else text


_STEPS: tuple[Callable[[str], str], ...] = (
    clean,
    _boxed,
    _tagged,
    _only_listed,
    _hashed,
    _labelled,
    _emphasised,
    _without_stop,
    _without_delimiters,
    _option,
    _written_out,
)
