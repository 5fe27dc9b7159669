"""Which of a text's boundaries start an episode, so that no episode is much longer than another.

From each cut, the next one is the first marked sentence that leaves at least the shortest length behind it; where none
comes before the longest length, it is the paragraph nearest to the middle of the two, else the sentence, the line, the
word nearest to it, and that character where there are no words.

For a thinking of n characters and at most E episodes, the shortest length is `min_chars`, or before a marker
`min_paragraphs` where that is less; it is n / E where these would give more than E episodes. The longest is
`max_chars`, or 2n / E where that is more.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from mrt_reward.core.boundaries import Boundaries, find_boundaries, first_from, nearest
from mrt_reward.options import BalancedSegmenter
from mrt_reward.types import Span


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Of an episode, in characters; the longest is at least twice the shortest.

    Attributes:
        paragraphs: before a marker, this many of them are long enough; None if only characters count.

    """

    shortest: int
    longest: int
    paragraphs: int | None = None


def balanced_cuts(text: str, span: Span, segmenter: BalancedSegmenter, *, held: int | None = None) -> list[int]:
    """Where episodes start.

    Args:
        text: of the completion.
        span: the thinking.
        segmenter: the rule.
        held: the end of a prefix that was cut before, and so a cut itself. What follows it is cut to the lengths of
            the whole: if the whole has this cut, the ones after it are the same.

    Returns:
        Characters of the text, increasing; the first is the span's start, or `held`.

    """
    boundaries = find_boundaries(text, span, segmenter.markers)
    most = segmenter.max_episodes
    share = 0 if most is None else -(-(span.end - span.start) // most)
    lengths = _Lengths(segmenter.min_chars, max(segmenter.max_chars, 2 * share), segmenter.min_paragraphs)
    cuts = _walk(boundaries, span.start, span.end, lengths)
    if most is not None and len(cuts) > most:
        # E episodes of at least n / E fill the thinking: there is no room for one more.
        lengths = _Lengths(share, lengths.longest)
        cuts = _walk(boundaries, span.start, span.end, lengths)
    return cuts if held is None else _walk(boundaries, held, span.end, lengths)


def _walk(boundaries: Boundaries, start: int, end: int, lengths: _Lengths) -> list[int]:
    cuts = [start]
    while (cut := _next_cut(boundaries, cuts[-1], end, lengths)) is not None:
        cuts.append(cut)
    return cuts


def _next_cut(boundaries: Boundaries, start: int, end: int, lengths: _Lengths) -> int | None:
    """The end of the episode that starts here; None if it is the last."""
    rest, shortest, longest = end - start, lengths.shortest, lengths.longest
    marked = first_from(boundaries.marked, _first_allowed(boundaries, start, lengths))
    if marked is not None and marked <= start + longest:
        return marked
    if rest <= longest:
        return None
    target = start + min(rest, shortest + longest) // 2
    low, high = start + shortest, min(start + longest, end - shortest)
    for offsets in (boundaries.paragraphs, boundaries.sentences, boundaries.lines, boundaries.words):
        if (near := nearest(offsets, target, low, high)) is not None:
            return near
    return _beside_formula(boundaries, target, low, end)


def _first_allowed(boundaries: Boundaries, start: int, lengths: _Lengths) -> int:
    """Where a marker may first end the episode that starts here."""
    enough = start + lengths.shortest
    if lengths.paragraphs is None:
        return enough
    index = bisect_right(boundaries.paragraphs, start) + lengths.paragraphs - 1
    return min([enough, *boundaries.paragraphs[index : index + 1]])


def _beside_formula(boundaries: Boundaries, target: int, low: int, end: int) -> int | None:
    """The target; if a formula is there, its start, its end, or nothing where it ends the text."""
    index = bisect_left(boundaries.formulas, target, key=lambda formula: formula.end)
    if index == len(boundaries.formulas) or boundaries.formulas[index].start >= target:
        return target
    formula = boundaries.formulas[index]
    if formula.start >= low:
        return formula.start
    return formula.end if formula.end < end else None
