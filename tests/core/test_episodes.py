from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.episodes import Thinking, episode_spans, find_thinking
from mrt_reward.errors import TraceError
from mrt_reward.options import (
    AUTHORS_SEGMENTERS,
    MRT_MARKERS,
    Delimiters,
    ExplicitSegmenter,
    MarkerSegmenter,
    ParagraphSegmenter,
    Segmenter,
    TokenSegmenter,
)
from mrt_reward.types import Span

THINK = Delimiters()

paragraphs = st.lists(
    st.sampled_from(
        ["Wait, no.", "But wait", "Alternatively, yes.", "So x = 1.", "", "\n", "Hmm.\nBut hold on", "é 中 🙂"]
    ),
    max_size=40,
)
segmenters = st.one_of(
    st.builds(
        MarkerSegmenter,
        min_paragraphs=st.integers(1, 4),
        max_steps=st.none() | st.integers(1, 5),
        group=st.integers(1, 4),
        max_episodes=st.none() | st.integers(1, 9),
    ),
    st.builds(ParagraphSegmenter, st.just("paragraphs"), st.integers(1, 4), max_episodes=st.none() | st.integers(1, 9)),
    st.builds(TokenSegmenter, st.just("tokens"), st.integers(1, 9), max_episodes=st.none() | st.integers(1, 9)),
)


def whole(text: str) -> Thinking:
    return Thinking(0, len(text), closed=False, answer_start=len(text), opened_by_text=False)


def pieces(text: str, segmenter: Segmenter, **kwargs: object) -> list[str]:
    spans = episode_spans(text, whole(text), segmenter, **kwargs)  # type: ignore[arg-type]
    return [text[span.start : span.end] for span in spans]


@pytest.mark.parametrize(
    ("completion", "opened", "thought", "closed"),
    [
        ("<think>\na</think>b", False, "a", True),
        ("  <think>a</think>b", True, "a", True),
        ("a</think>b", False, "a", True),
        ("a</think>b", True, "a", True),
        ("a", True, "a", False),
        ("<think>a", False, "a", False),
        ("Sure. <think>a</think>b", False, "a", True),
        ("<think>a<think>b</think>c</think>", False, "a<think>b", True),
        ("a</think>b<think>c</think>", False, "a", True),
        ("a<think>b</think>c", True, "a<think>b", True),
        ("<think></think>", False, "", True),
        ("<think>\n</think>", True, "", True),
        ("</think>a", False, "", True),
    ],
)
def test_one_pair_of_delimiters_counts(completion: str, opened: bool, thought: str, closed: bool) -> None:
    thinking = find_thinking(completion, THINK, opened=opened)
    assert thinking is not None
    assert completion[thinking.start : thinking.end] == thought
    assert thinking.closed is closed
    assert completion[thinking.answer_start :].startswith("</think>") is closed


def test_without_delimiters_nothing_says_that_it_is_thinking() -> None:
    assert find_thinking("42", THINK, opened=False) is None


def test_empty_delimiters_make_all_of_it_thinking() -> None:
    assert find_thinking("a<think>b", Delimiters("", ""), opened=False) == whole("a<think>b")


@pytest.mark.parametrize(
    ("delimiters", "completion", "thought", "closed"),
    [
        (Delimiters("", "</think>"), "\nab</think>c", "\nab", True),
        (Delimiters("", "</think>"), "ab", "ab", False),
        (Delimiters("<think>", ""), "<think>ab</think>", "ab</think>", False),
    ],
)
def test_an_empty_delimiter_is_not_found_everywhere(
    delimiters: Delimiters, completion: str, thought: str, closed: bool
) -> None:
    thinking = find_thinking(completion, delimiters, opened=False)
    assert thinking is not None
    assert completion[thinking.start : thinking.end] == thought
    assert thinking.closed is closed
    assert thinking.opened_by_text is bool(delimiters.open)


@given(st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "<"]), max_size=8).map("".join), st.booleans())
def test_thinking_lies_in_the_completion_and_the_answer_follows_it(completion: str, opened: bool) -> None:
    thinking = find_thinking(completion, THINK, opened=opened)
    if thinking is None:
        assert not opened
        assert "<think>" not in completion
        assert "</think>" not in completion
        return
    assert 0 <= thinking.start <= thinking.end == thinking.answer_start <= len(completion)
    assert thinking.closed is completion.startswith("</think>", thinking.answer_start)
    assert "</think>" not in completion[thinking.start : thinking.end]
    assert thinking.closed or thinking.answer_start == len(completion)


def test_a_marker_opens_an_episode_once_the_running_one_has_three_paragraphs() -> None:
    # Paragraphs 0 1 2 3* 4* 5 6*: the one at 4 is too near to the one at 3, so episodes start at 0, 3 and 6.
    text = "a\n\nb\n\nc\n\nWait d\n\nWait e\n\nf\n\nAlternatively g"
    assert pieces(text, MarkerSegmenter()) == ["a\n\nb\n\nc\n\n", "Wait d\n\nWait e\n\nf\n\n", "Alternatively g"]


def test_more_than_the_most_episodes_merge_evenly() -> None:
    # 5 episodes, at most 2: ceil(5 / 2) = 3 go together.
    text = "".join(f"Wait {index}\n\n" for index in range(5))
    segmenter = MarkerSegmenter(min_paragraphs=1, max_episodes=2)
    assert [piece.count("Wait") for piece in pieces(text, segmenter)] == [3, 2]


def test_a_trailing_separator_is_no_paragraph() -> None:
    # 8 paragraphs, at most 8 episodes: nothing merges, although splitting the text gives a ninth, empty piece.
    text = "".join(f"p{index}\n\n" for index in range(8))
    assert len(pieces(text, ParagraphSegmenter("paragraphs"))) == 8


def test_a_marker_that_runs_into_the_closing_delimiter_is_none() -> None:
    # The last paragraph of the thinking is "Wa"; only with the delimiter after it would it read "Wait".
    thinking = find_thinking("a\n\nWait up", Delimiters("", "it up"), opened=False)
    assert thinking is not None
    spans = episode_spans("a\n\nWait up", thinking, MarkerSegmenter(min_paragraphs=1))
    assert spans == (Span(0, 5),)


@pytest.mark.parametrize("gap", ["\n\n", "\r\n\r\n", "\n\n\n", "\n\n\n\n", "\n  \n", "\r\n \t\r\n"])
def test_blank_lines_of_any_make_separate_paragraphs(gap: str) -> None:
    parts = ["A.", "B.", "C.", "Wait, D.", "E."]
    text = gap.join(parts)
    paragraphs = pieces(text, ParagraphSegmenter("paragraphs"))
    assert paragraphs == [*(part + gap for part in parts[:-1]), "E."]
    assert [piece.strip() for piece in pieces(text, MarkerSegmenter())] == [gap.join(parts[:3]), gap.join(parts[3:])]
    # Blank lines before the first paragraph are no paragraph of their own.
    assert pieces(gap + "A.", ParagraphSegmenter("paragraphs")) == [gap + "A."]


def test_the_line_end_after_the_opening_delimiter_is_not_thinking() -> None:
    thinking = find_thinking("<think>\r\nA.\r\n</think>\r\n42", THINK, opened=False)
    assert thinking is not None
    assert (thinking.start, thinking.end) == (9, 13)


def test_the_notebooks_count_an_empty_paragraph_and_the_markers_rule_does_not() -> None:
    text = "A.\n\n\n\nB.\n\nWait, C."
    assert len(pieces(text, MarkerSegmenter())) == 1
    assert len(pieces(text, MarkerSegmenter(separator="two_line_feeds"))) == 2


def test_white_space_is_no_episode() -> None:
    assert pieces("", MarkerSegmenter()) == []
    assert pieces(" \n\n \n", MarkerSegmenter()) == []


def test_paragraphs_and_tokens() -> None:
    assert pieces("a\n\nb\n\nc", ParagraphSegmenter("paragraphs", group=2)) == ["a\n\nb\n\n", "c"]
    ends = np.arange(1, 8, dtype=np.int32)
    assert pieces("abcdefg", TokenSegmenter("tokens", 3), char_ends=ends) == ["abc", "def", "g"]
    with pytest.raises(ValueError, match="char_ends"):
        pieces("abc", TokenSegmenter("tokens", 3))


def test_explicit_offsets_start_episodes() -> None:
    explicit = ExplicitSegmenter("explicit")
    assert pieces("abcdef", explicit, starts=[0, 2, 5]) == ["ab", "cde", "f"]
    assert pieces("abcdef", explicit, starts=[2]) == ["ab", "cdef"]
    assert pieces("abcdef", explicit, starts=[]) == ["abcdef"]


@pytest.mark.parametrize("starts", [None, [0, 2, 2], [3, 1], [0, 6], [-1, 2]])
def test_offsets_that_make_no_episodes_are_refused(starts: list[int] | None) -> None:
    with pytest.raises(TraceError) as refused:
        pieces("abcdef", ExplicitSegmenter("explicit"), starts=starts)
    assert refused.value.param == "episode_starts"


@given(paragraphs, segmenters)
def test_episodes_partition_the_thinking(parts: list[str], segmenter: Segmenter) -> None:
    text = "\n\n".join(parts)
    ends = np.arange(1, len(text) + 1, dtype=np.int32)
    spans = episode_spans(text, whole(text), segmenter, char_ends=ends)
    assert "".join(text[span.start : span.end] for span in spans) == (text if text.strip() else "")
    assert all(span.start < span.end for span in spans)
    if not isinstance(segmenter, ExplicitSegmenter) and segmenter.max_episodes is not None:
        assert len(spans) <= segmenter.max_episodes


def authors_split(text: str, max_steps: int, group: int) -> list[str]:
    """What the notebooks do, written from their description: list of lists of paragraphs, joined at the end."""
    steps: list[list[str]] = [[]]
    previous = 0
    boundaries = 0
    for index, paragraph in enumerate(text.split("\n\n")):
        near = previous in {index, index - 1, index - 2}
        if not near and boundaries < max_steps and paragraph.startswith(MRT_MARKERS):
            steps.append([])
            previous, boundaries = index, boundaries + 1
        steps[-1].append(paragraph)
    joined = ["\n\n".join(step) for step in steps]
    return ["\n\n".join(joined[start : start + group]) for start in range(0, len(joined), group)]


@pytest.mark.parametrize("name", sorted(AUTHORS_SEGMENTERS))
@given(
    parts=st.lists(st.sampled_from(["Wait, no.", "But hold on", "Alternatively", "x", "y"]), min_size=1, max_size=300)
)
def test_the_authors_settings_give_the_authors_episodes(name: str, parts: list[str]) -> None:
    text = "\n\n".join(parts)
    segmenter = AUTHORS_SEGMENTERS[name]
    assert segmenter.max_steps is not None
    expected = authors_split(text, segmenter.max_steps, segmenter.group)
    assert [piece.rstrip("\n") for piece in pieces(text, segmenter)] == [piece.rstrip("\n") for piece in expected]


def test_real_traces_are_cut_as_the_authors_cut_them() -> None:
    folder = os.environ.get("MRT_REWARD_TEST_DATA")
    if not folder:
        pytest.skip("MRT_REWARD_TEST_DATA names no folder of real traces")
    lines = (Path(folder) / "traces_qwen3_32b.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 35
    for line in lines:
        completion = json.loads(line)["completion"]
        thinking = find_thinking(completion, THINK, opened=False)
        assert thinking is not None
        thought = completion[thinking.start : thinking.end]
        for segmenter in AUTHORS_SEGMENTERS.values():
            spans = episode_spans(completion, thinking, segmenter)
            found = [completion[span.start : span.end].rstrip("\n") for span in spans]
            assert segmenter.max_steps is not None
            expected = [piece.rstrip("\n") for piece in authors_split(thought, segmenter.max_steps, segmenter.group)]
            assert found == expected
