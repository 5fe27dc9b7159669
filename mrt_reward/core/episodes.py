"""Where the thinking is, and where it is cut into episodes.

Episodes partition the thinking: each span includes the separators that trail it, but for the one space before a
sentence within a line, which tokenizers keep with its first word. Offsets are Unicode code points of the completion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.balance import balanced_cuts
from mrt_reward.core.boundaries import paragraph_starts
from mrt_reward.errors import TraceError
from mrt_reward.options import (
    BalancedSegmenter,
    Delimiters,
    ExplicitSegmenter,
    MarkerSegmenter,
    ParagraphSegmenter,
    Segmenter,
    TextSegmenter,
    TokenSegmenter,
)
from mrt_reward.types import Span

SEPARATOR = "\n\n"
"""Of paragraphs, in the authors' notebooks."""

LINE_ENDS = ("\n", "\r\n")


@dataclass(frozen=True, slots=True)
class Thinking:
    """Where a completion thinks.

    Attributes:
        start: first character after the opening delimiter.
        end: one past the last.
        closed: whether the closing delimiter is there; otherwise the completion was cut off while thinking.
        answer_start: where the closing delimiter starts, which belongs to the answer; the text's length if not closed.
        opened_by_text: whether the completion opens its thinking itself.

    """

    start: int
    end: int
    closed: bool
    answer_start: int
    opened_by_text: bool

    @property
    def span(self) -> Span:
        """Its half-open span, in characters."""
        return Span(self.start, self.end)


def find_thinking(completion: str, delimiters: Delimiters, *, opened: bool) -> Thinking | None:
    """Find the one pair of delimiters that counts; later ones are plain text.

    Args:
        completion: the model's text.
        delimiters: what opens and closes thinking; both empty means that all of it is thinking. Only `open` empty:
            it is open from the start. Only `close` empty: it is never closed.
        opened: whether the prompt ends with thinking opened.

    Returns:
        None if no delimiter is there and the prompt did not open one: nothing says that this is thinking.

    """
    length = len(completion)
    if not delimiters.open and not delimiters.close:
        return Thinking(0, length, closed=False, answer_start=length, opened_by_text=False)
    opened = opened or not delimiters.open
    close = _find(completion, delimiters.close)
    opener = _find(completion, delimiters.open)
    opened_by_text = opener >= 0 and (close < 0 or opener < close)
    if opened and completion[: max(opener, 0)].strip():
        # Thinking is under way: an opener within it is something the model wrote, and hides nothing before it.
        opened_by_text = False
    if not opened_by_text and close < 0 and not opened:
        return None
    start = 0
    if opened_by_text:
        start = opener + len(delimiters.open)
        start += next((len(line_end) for line_end in LINE_ENDS if completion.startswith(line_end, start)), 0)
        close = _find(completion, delimiters.close, start)
    end = length if close < 0 else close
    return Thinking(start, end, closed=close >= 0, answer_start=end, opened_by_text=opened_by_text)


def _find(text: str, delimiter: str, start: int = 0) -> int:
    """Where the delimiter first is; -1 if nowhere, or if it is empty and so would be everywhere."""
    return text.find(delimiter, start) if delimiter else -1


def episode_spans(
    completion: str,
    thinking: Thinking,
    segmenter: Segmenter,
    *,
    char_ends: NDArray[np.int32] | None = None,
    starts: Sequence[int] | None = None,
) -> tuple[Span, ...]:
    """Cut the thinking into episodes `z[0] … z[K-1]`.

    Args:
        completion: the model's text.
        thinking: where it thinks.
        segmenter: the rule.
        char_ends: for the `tokens` rule, where each of the thinking's tokens ends, in characters of the completion.
        starts: for the `explicit` rule, where episodes start, in characters; the first may be left out.

    Returns:
        Spans that partition the thinking; none if it is empty or only white space.

    Raises:
        TraceError: the explicit offsets are missing, not increasing or outside the thinking.

    """
    if not completion[thinking.start : thinking.end].strip():
        return ()
    match segmenter:
        case BalancedSegmenter():
            return _spans(balanced_cuts(completion, thinking.span, segmenter), thinking.end)
        case MarkerSegmenter():
            cuts = _marker_cuts(completion, thinking, segmenter)
        case ParagraphSegmenter():
            cuts = _grouped(paragraph_starts(completion, thinking.span), segmenter.group)
        case TokenSegmenter():
            cuts = _token_cuts(thinking, segmenter.num_tokens, char_ends)
        case ExplicitSegmenter():
            return _spans(_explicit_cuts(thinking, starts), thinking.end)
    if segmenter.max_episodes is not None:
        cuts = _grouped(cuts, -(-len(cuts) // segmenter.max_episodes))
    return _spans(cuts, thinking.end)


def spans_after(completion: str, thinking: Thinking, segmenter: TextSegmenter, held: int) -> tuple[Span, ...]:
    """Episodes of what follows a prefix that was cut before: the prefix and its continuation are cut once, as a whole.

    Args:
        completion: the prefix and its continuation.
        thinking: where they think.
        segmenter: the rule that the prefix was cut by.
        held: where the prefix ends.

    Returns:
        Spans that partition the thinking from `held` on. Under `balanced`, a trace continued by its own rest has the
        episodes that it has as a whole; the other rules are applied without `max_episodes`.

    """
    if isinstance(segmenter, BalancedSegmenter):
        return _spans(balanced_cuts(completion, thinking.span, segmenter, held=held), thinking.end)
    spans = episode_spans(completion, thinking, replace(segmenter, max_episodes=None))
    return tuple(Span(max(span.start, held), span.end) for span in spans if span.end > held)


def _spans(cuts: Sequence[int], end: int) -> tuple[Span, ...]:
    return tuple(Span(start, stop) for start, stop in zip(cuts, [*cuts[1:], end], strict=True) if start < stop)


def _grouped(cuts: Sequence[int], size: int) -> list[int]:
    """Merge every `size` consecutive episodes."""
    return list(cuts[::size])


def _piece_starts(completion: str, thinking: Thinking) -> list[int]:
    """Where the pieces start that splitting at the separator gives."""
    starts = [thinking.start]
    while (found := completion.find(SEPARATOR, starts[-1], thinking.end)) >= 0:
        starts.append(found + len(SEPARATOR))
    # The empty piece after a trailing separator is no episode, and must not count towards `max_episodes`.
    return [start for start in starts if start < thinking.end]


def _marker_cuts(completion: str, thinking: Thinking, segmenter: MarkerSegmenter) -> list[int]:
    """The authors' rule: a marked paragraph opens an episode unless the running one is too short.

    The running episode's first paragraph is at index `opened`, so a boundary at paragraph i needs
    i - opened >= min_paragraphs; splitting stops after `max_steps` boundaries, and the remainder is the last episode.
    """
    literal = segmenter.separator == "two_line_feeds"
    paragraphs = _piece_starts(completion, thinking) if literal else paragraph_starts(completion, thinking.span)
    cuts, opened = [thinking.start], 0
    for index, start in enumerate(paragraphs):
        if segmenter.max_steps is not None and len(cuts) > segmenter.max_steps:
            break
        if index - opened >= segmenter.min_paragraphs and completion.startswith(segmenter.markers, start, thinking.end):
            cuts.append(start)
            opened = index
    return _grouped(cuts, segmenter.group)


def _token_cuts(thinking: Thinking, num_tokens: int, char_ends: NDArray[np.int32] | None) -> list[int]:
    if char_ends is None:
        raise ValueError("segmenter 'tokens' needs char_ends, got none")
    ends = [int(end) for end in char_ends[num_tokens - 1 :: num_tokens] if end < thinking.end]
    return [thinking.start, *dict.fromkeys(ends)]


def _explicit_cuts(thinking: Thinking, starts: Sequence[int] | None) -> list[int]:
    if starts is None:
        raise TraceError("segmenter 'explicit' needs `episode_starts`: offsets in characters", param="episode_starts")
    cuts = list(starts)
    if not cuts or cuts[0] != thinking.start:
        cuts.insert(0, thinking.start)
    inside = all(thinking.start <= cut < thinking.end for cut in cuts)
    if not inside or any(after <= before for before, after in pairwise(cuts)):
        raise TraceError(
            f"episode_starts must be increasing offsets inside the thinking [{thinking.start}, {thinking.end}), "
            f"got {list(starts)}",
            param="episode_starts",
        )
    return cuts
