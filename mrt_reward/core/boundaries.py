"""Where a text may be cut without breaking what it says: paragraphs, sentences, lines and words, outside formulas.

All of it is linear in the text, which may come from anybody. A cut before a word leaves the one space before it to
that word, because tokenizers keep the two together.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.core.formulas import formula_spans
from mrt_reward.types import Span

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_LINES = re.compile(r"\n(?=[^\S\n]*\S)")
_WORDS = re.compile(r"\s+")
_WIDE_STOPS = "。！？"  # noqa: RUF001 - ends of Chinese and Japanese sentences
# Numbers of list items and abbreviations come first, so that their full stops end nothing.
_SENTENCE_ENDS = re.compile(
    r"^[ \t]{0,8}\d{1,3}\.(?=\s)"
    r"|\b(?:e\.g|i\.e|vs|cf|Dr|Mr|Mrs|Ms|Prof|Fig|Eq|approx)\."
    rf"|(?P<end>(?:[.!?…][)\]\"'”’*_]{{0,4}}(?=\s)|[{_WIDE_STOPS}][)\]\"'”’」』）]{{0,4}})\s*)",  # noqa: RUF001 - closing quotes
    re.MULTILINE,
)
_DECORATION = r"[ \t*_#>(\[\"'“‘-]{0,8}"  # noqa: RUF001 - opening quotes


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Where a text may be cut, in characters, increasing.

    Attributes:
        marked: starts of sentences, lines and paragraphs that start with a marker.
        paragraphs: starts of paragraphs, which blank lines separate.
        sentences: starts of sentences and paragraphs.
        lines: starts of lines.
        words: starts of words.
        formulas: none of these offsets lies within one of them.

    """

    marked: Sequence[int]
    paragraphs: Sequence[int]
    sentences: Sequence[int]
    lines: Sequence[int]
    words: Sequence[int]
    formulas: Sequence[Span]


def find_boundaries(text: str, span: Span, markers: Sequence[str]) -> Boundaries:
    """Every offset within the span at which it may be cut; its two ends are none."""
    paragraphs = paragraph_starts(text, span)
    formulas = formula_spans(text, span, paragraphs)
    sentences = [*paragraphs, *_sentence_starts(text, span)]
    lines = [found.end() for found in _LINES.finditer(text, span.start, span.end)]
    words = [_before_space(text, found.end()) for found in _WORDS.finditer(text, span.start, span.end)]
    marker = _marker_pattern(markers)
    marked = [at for at in {*sentences, *lines} if marker.match(text, at, span.end)]

    def allowed(offsets: Iterable[int]) -> Sequence[int]:
        return _outside(formulas, offsets, span)

    return Boundaries(
        allowed(marked), allowed(paragraphs), allowed(sentences), allowed(lines), allowed(words), formulas
    )


def _marker_pattern(markers: Sequence[str]) -> re.Pattern[str]:
    """A start that is marked; a marker that ends in a Latin letter or a digit is no beginning of a longer word."""
    words = (
        re.escape(marker) + "(?![A-Za-z0-9])" * (marker[-1].isascii() and marker[-1].isalnum()) for marker in markers
    )
    return re.compile(f"{_DECORATION}(?:{'|'.join(words)})")


def paragraph_starts(text: str, span: Span) -> list[int]:
    """Where paragraphs start, the first with the span; blank lines may hold white space and end in CR LF."""
    body = text[span.start : span.end]
    first, last = span.start + len(body) - len(body.lstrip()), span.start + len(body.rstrip())
    found = (match.end() for match in _BLANK_LINES.finditer(text, span.start, span.end))
    return [span.start, *(start for start in found if first < start < last)]


def first_from(offsets: Sequence[int], start: int) -> int | None:
    """The first offset at or after another; None where there is none."""
    index = bisect_left(offsets, start)
    return offsets[index] if index < len(offsets) else None


def nearest(offsets: Sequence[int], target: int, low: int, high: int) -> int | None:
    """The offset in [low, high] that is nearest to the target, the earlier of two; None where there is none."""
    index = bisect_left(offsets, target)
    near = [offset for offset in offsets[max(index - 1, 0) : index + 1] if low <= offset <= high]
    return min(near, key=lambda offset: abs(offset - target), default=None)


def _sentence_starts(text: str, span: Span) -> list[int]:
    """What follows the end of a sentence and does not go on in lower case."""
    starts: list[int] = []
    for found in _SENTENCE_ENDS.finditer(text, span.start, span.end):
        at = found.end()
        if found["end"] is not None and at < span.end and not text[at].islower() and text[at] not in _WIDE_STOPS:
            line = text.rfind("\n", found.start(), at) + 1
            starts.append(line or _before_space(text, at))
    return starts


def _before_space(text: str, start: int) -> int:
    return start - text.startswith(" ", start - 1)


def _outside(formulas: Sequence[Span], offsets: Iterable[int], span: Span) -> Sequence[int]:
    """In order, those that lie in no formula and are no end of the span."""
    offset_N = np.unique(np.fromiter(offsets, np.int64))
    offset_N = offset_N[(offset_N > span.start) & (offset_N < span.end)]
    before = np.searchsorted([formula.start for formula in formulas], offset_N, side="left")
    ends = np.array([0, *(formula.end for formula in formulas)])
    return offset_N[offset_N >= ends[before]].tolist()
