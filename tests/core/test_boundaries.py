from __future__ import annotations

from collections.abc import Sequence

import pytest

from mrt_reward.core.boundaries import Boundaries, find_boundaries, paragraph_starts
from mrt_reward.options import MODEL_MARKERS
from mrt_reward.types import Span


def found(text: str) -> Boundaries:
    return find_boundaries(text, Span(0, len(text)), MODEL_MARKERS)


def after(text: str, starts: Sequence[int]) -> list[str]:
    """The four characters that follow each of the offsets."""
    return [text[start : start + 4] for start in starts]


@pytest.mark.parametrize("gap", ["\n\n", "\r\n\r\n", "\n\n\n", "\n\n\n\n\n", "\n \t\n", "\r\n  \r\n\r\n", "\n\u3000\n"])
def test_blank_lines_of_any_make_separate_paragraphs(gap: str) -> None:
    text = gap.join(["One.", "  Two.", "Three."]) + gap
    starts = paragraph_starts(text, Span(0, len(text)))
    assert [text[start:].split(".")[0] for start in starts] == ["One", "  Two", "Three"]


@pytest.mark.parametrize("text", ["", "a", "\n\n\na", "\r\n\r\na\n\n", "a\nb", "\n\n \n"])
def test_blank_lines_at_either_end_separate_nothing(text: str) -> None:
    assert paragraph_starts(text, Span(0, len(text))) == [0]


def test_the_space_before_a_sentence_is_the_sentences() -> None:
    text = "It is 3.14. Then x.  Two spaces! (So?) Yes."
    assert after(text, found(text).sentences) == [" The", " Two", " (So", " Yes"]


def test_the_line_before_a_sentence_is_not() -> None:
    text = "Done.\nNext.\n\nLast.\r\n\r\nEnd"
    assert after(text, found(text).sentences) == ["Next", "Last", "End"]
    assert after(text, found(text).paragraphs) == ["Last", "End"]
    assert after(text, found(text).lines) == ["Next", "Last", "End"]


def test_chinese_sentences_need_no_space() -> None:
    text = "设x=1。则y=2！“对。”好。"  # noqa: RUF001 - what is tested
    assert after(text, found(text).sentences) == ["则y=2", "“对。”", "好。"]


@pytest.mark.parametrize(
    "text", ["e.g. Paris is", "See Fig. 3 here", "x vs. Y", "stop. and go", "1. First", "a\n 12. Next"]
)
def test_a_full_stop_that_ends_no_sentence_is_none(text: str) -> None:
    assert not [start for start in found(text).sentences if text[start - 1] != "\n"]


def test_markers_count_at_starts_of_sentences_lines_and_paragraphs_alone() -> None:
    text = "Let me wait. Wait, no. I Wait.\nHmm.\n\n**But wait**\n- Alternatively\nWaiting. However"
    assert [text[at:].strip(" *-")[:5] for at in found(text).marked] == ["Wait,", "Hmm.\n", "But w", "Alter", "Howev"]


def test_a_marker_of_any_script_or_with_punctuation_is_taken_to_the_letter() -> None:
    text = "等等我。But,no. Butter. But no. 等"
    marked = find_boundaries("x. " + text, Span(0, len(text) + 3), ("But,", "But", "等等")).marked
    assert after("x. " + text, marked) == [" 等等我", "But,", " But"]


def test_no_boundary_lies_within_a_formula() -> None:
    text = "So $x = 1. Wait = 2$ holds.\n\n\\[\na. B\n\n= c\n\\]\nEnd. $$ y. Z $$"
    kinds = found(text)
    assert after(text, kinds.sentences) == ["\\[\na", " $$ "]
    assert after(text, kinds.lines) == ["\\[\na", "End."]
    assert after(text, kinds.words) == [" $x ", " hol", "\\[\na", "End.", " $$ "]
    assert kinds.marked == []


def test_only_what_is_within_the_span_counts() -> None:
    text = "Wait. Wait. Wait. Wait"
    assert find_boundaries(text, Span(5, 17), MODEL_MARKERS).marked == [11]
