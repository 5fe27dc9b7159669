r"""Where a text has formulas: `$…$`, `$$…$$`, `\(…\)`, `\[…\]` and environments.

Linear in the text but for sorting, whatever is opened and never closed.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from mrt_reward.types import Span

MAX_FORMULA_CHARS = 2000
"""What is longer is no formula: an opener that nothing closes must not keep the rest of a trace in one piece."""

_MARKS = re.compile(
    r"\\[\\$]"  # a line break before `[2pt]`, and a dollar that is meant
    r"|\\(?P<open>[(\[])|\\(?P<close>[)\]])"
    r"|\\(?P<edge>begin|end)\{(?P<name>[A-Za-z]{1,20}\*?)\}"
    r"|(?P<dollars>\$\$?)"
)
_CLOSER_OF = {"(": ")", "[": "]"}


def formula_spans(text: str, span: Span, paragraphs: Sequence[int]) -> list[Span]:
    """Formulas within the span, in order, delimiters included; of nested ones the outer.

    A single dollar is closed within its paragraph, with the spacing that it was opened with and not before a digit, so
    that two prices are no formula.

    Args:
        text: the text to search.
        span: which part of it.
        paragraphs: where its paragraphs start.

    """
    marks = list(_MARKS.finditer(text, span.start, span.end))
    closers: dict[str, list[int]] = {}
    for mark in marks:
        if (kind := _closes(text, mark)) is not None:
            closers.setdefault(kind, []).append(mark.end())
    formulas: list[Span] = []
    for mark in marks:
        kind = _opens(text, mark)
        if kind is None or (formulas and mark.start() < formulas[-1].end):
            continue
        ends = closers.get(kind, [])
        index = bisect_right(ends, mark.end() + 1)
        limit = mark.start() + MAX_FORMULA_CHARS
        if mark["dollars"] == "$":
            limit = min([limit, *paragraphs[(at := bisect_left(paragraphs, mark.end())) : at + 1]])
        if index < len(ends) and ends[index] <= limit:
            formulas.append(Span(mark.start(), ends[index]))
    return formulas


def _opens(text: str, mark: re.Match[str]) -> str | None:
    """The kind of formula that a mark may open."""
    if mark["dollars"] == "$":
        return _spaced(text[mark.end() : mark.end() + 1])
    return mark["dollars"] or (mark["name"] if mark["edge"] == "begin" else _CLOSER_OF.get(mark["open"]))


def _closes(text: str, mark: re.Match[str]) -> str | None:
    """The kind of formula that a mark may close."""
    if mark["dollars"] == "$":
        before, after = text[mark.start() - 1 : mark.start()], text[mark.end() : mark.end() + 1]
        return None if after.isdigit() else _spaced(before)
    return mark["dollars"] or (mark["name"] if mark["edge"] == "end" else mark["close"])


def _spaced(neighbour: str) -> str:
    return "$ loose" if neighbour.isspace() else "$ tight"
