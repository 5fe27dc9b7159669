from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mrt_reward.core.boundaries import find_boundaries, paragraph_starts
from mrt_reward.core.episodes import Thinking, episode_spans, find_thinking, spans_after
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import BalancedSegmenter, Delimiters
from mrt_reward.types import Span

SMALL = BalancedSegmenter(min_chars=10, max_chars=30)
SENTENCE = "Nothing is new here. "

texts = st.lists(
    st.sampled_from(
        [
            "Wait, no. ",
            "So x = 1. ",
            "$a. B$ ",
            "word ",
            "\n\n",
            "\r\n\r\n",
            "\\[ c. D \\] ",
            "letters" * 9,
            "中文。",
            "$",
        ]
    ),
    max_size=120,
).map("".join)
segmenters = st.builds(
    BalancedSegmenter,
    min_chars=st.integers(1, 40),
    min_paragraphs=st.integers(1, 3),
    max_chars=st.integers(80, 200),
    max_episodes=st.none() | st.integers(1, 12),
)


def whole(text: str) -> Thinking:
    return Thinking(0, len(text), closed=False, answer_start=len(text), opened_by_text=False)


def pieces(text: str, segmenter: BalancedSegmenter = SMALL) -> list[str]:
    return [text[span.start : span.end] for span in episode_spans(text, whole(text), segmenter)]


def test_the_first_marked_sentence_after_the_shortest_length_starts_an_episode() -> None:
    # Cuts need 10 characters: the marker at 5 is too early, those at 15 and at 36 are not.
    assert pieces("Abc. Wait, no. Hmm, let us see it. So. Wait, x.") == [
        "Abc. Wait, no.",
        " Hmm, let us see it. So.",
        " Wait, x.",
    ]


def test_a_marker_after_three_paragraphs_starts_an_episode_however_short_they_are() -> None:
    assert pieces("a\n\nb\n\nc\n\nWait d\n\nWait e\n\nf\n\nHmm g", BalancedSegmenter()) == [
        "a\n\nb\n\nc\n\n",
        "Wait d\n\nWait e\n\nf\n\n",
        "Hmm g",
    ]
    # Nine of 14 characters are too many: each of eight has at least 126 / 8 > 14, so every other one counts.
    many = "Wait d\n\ne\n\nf\n\n" * 9
    assert [piece.count("W") for piece in pieces(many, BalancedSegmenter())] == [2, 2, 2, 2, 1]


def test_a_paragraph_goes_before_a_nearer_sentence() -> None:
    # 40 characters, more than 30: the middle is 20, a sentence starts there, and a paragraph at 12.
    text = "Abcdefghi.\n\nAbcdef. Abcdef. Abcdef ghijk"
    assert pieces(text) == ["Abcdefghi.\n\n", "Abcdef. Abcdef. Abcdef ghijk"]
    assert pieces(text.replace("\n\n", " x"))[0] == "Abcdefghi. xAbcdef."


def test_without_sentences_a_line_then_a_word_then_any_character_is_cut_at() -> None:
    assert pieces("abcdefghi jk\nabcdefgh abcdefgh abcdefgh") == ["abcdefghi jk\n", "abcdefgh abcdefgh abcdefgh"]
    assert pieces("abcdefghi jkl abcdefgh abcdefgh abcdefgh")[0] == "abcdefghi jkl abcdefgh"
    assert pieces("a" * 40) == ["a" * 20, "a" * 20]


def test_a_formula_is_left_whole() -> None:
    # The window of the first cut is within the formula, which starts too early to cut before it.
    formula = "$x + y + z + u + v + w + x + y + z + u = 1$"
    assert pieces(f"So {formula}. Then abc.") == [f"So {formula}", ". Then abc."]
    assert pieces(f"Abcdefghijkl {formula}") == ["Abcdefghijkl", f" {formula}"]
    assert pieces(formula) == [formula]


def test_what_is_not_longer_than_the_longest_episode_is_cut_at_markers_alone() -> None:
    assert pieces("One. Two. Three.\n\nFour. Five.") == ["One. Two. Three.\n\nFour. Five."]
    assert pieces("One. Two. Three.\n\nWait. Five.") == ["One. Two. Three.\n\n", "Wait. Five."]


def test_more_text_or_more_markers_never_give_more_than_the_most_episodes() -> None:
    for text in (SENTENCE * 500, "Wait, I see it now. " * 500, "x" * 10_000):
        assert 4 <= len(pieces(text, BalancedSegmenter())) <= 8
        assert len(pieces(text, BalancedSegmenter(max_episodes=3))) <= 3
        assert len(pieces(text, BalancedSegmenter(max_episodes=1))) == 1
        assert len(pieces(text, BalancedSegmenter(max_episodes=None))) >= len(text) / 300


def test_the_longest_length_is_at_least_twice_the_shortest() -> None:
    with pytest.raises(ValueError, match="at least twice min_chars, got 150 and 100"):
        BalancedSegmenter(max_chars=150)


@given(texts, segmenters)
def test_episodes_partition_the_thinking_and_none_but_the_last_is_short(
    text: str, segmenter: BalancedSegmenter
) -> None:
    spans = episode_spans(text, whole(text), segmenter)
    assert "".join(text[span.start : span.end] for span in spans) == (text if text.strip() else "")
    paragraphs = paragraph_starts(text, Span(0, len(text)))
    for span in spans[:-1]:
        inside = sum(span.start < start <= span.end for start in paragraphs)
        assert span.end - span.start >= segmenter.min_chars or inside >= segmenter.min_paragraphs
    assert segmenter.max_episodes is None or len(spans) <= segmenter.max_episodes


@given(texts, segmenters)
def test_no_episode_but_one_with_a_formula_is_long(text: str, segmenter: BalancedSegmenter) -> None:
    share = 0 if segmenter.max_episodes is None else -(-len(text) // segmenter.max_episodes)
    formulas = find_boundaries(text, Span(0, len(text)), segmenter.markers).formulas
    for span in episode_spans(text, whole(text), segmenter):
        inside = [formula for formula in formulas if formula.start < span.end and span.start < formula.end]
        longest = max(segmenter.max_chars, 2 * share) + sum(formula.end - formula.start for formula in inside)
        assert span.end - span.start <= longest


@given(texts, segmenters)
def test_no_cut_is_within_a_formula(text: str, segmenter: BalancedSegmenter) -> None:
    formulas = find_boundaries(text, Span(0, len(text)), segmenter.markers).formulas
    for span in episode_spans(text, whole(text), segmenter):
        assert not any(formula.start < span.start < formula.end for formula in formulas)


@given(texts, segmenters)
def test_a_prefix_continued_by_its_own_rest_has_the_episodes_of_the_whole(
    text: str, segmenter: BalancedSegmenter
) -> None:
    spans = episode_spans(text, whole(text), segmenter)
    for index, span in enumerate(spans):
        assert spans_after(text, whole(text), segmenter, span.start) == spans[index:]


@given(texts, segmenters, st.data())
def test_what_follows_any_prefix_is_partitioned_from_its_end(
    text: str, segmenter: BalancedSegmenter, data: st.DataObject
) -> None:
    held = data.draw(st.integers(0, len(text)))
    spans = spans_after(text, whole(text), segmenter, held)
    assert "".join(text[span.start : span.end] for span in spans) == text[held:]


HOSTILE: dict[str, Callable[[int], str]] = {
    "spaces": lambda n: "a" + " " * n + "b",
    "line feeds": lambda n: "a" + "\n" * n + "b",
    "blank lines": lambda n: "a" + "\n " * (n // 2) + "b",
    "indented": lambda n: "x\n" + " " * n + "y",
    "CR LF": lambda n: "a" + "\r\n" * (n // 2) + "b",
    "braces": lambda n: "{" * n,
    "letters": lambda n: "a" * n,
    "digits": lambda n: "1" * n,
    "dots": lambda n: "." * n,
    "stops": lambda n: ". " * (n // 2),
    "quotes": lambda n: '."' * (n // 2),
    "wide stops": lambda n: "。" * n,
    "dollars": lambda n: "$" * n,
    "loose dollars": lambda n: "$ " * (n // 2),
    "tight dollars": lambda n: "$a" * (n // 2),
    "openers": lambda n: "\\[" * (n // 2),
    "openers, one closer": lambda n: "\\(" * (n // 2) + "\\)",
    "environments": lambda n: "\\begin{a}" * (n // 9),
    "backslashes": lambda n: "\\" * n,
    "stars": lambda n: "*" * n,
    "markers": lambda n: "Wait. " * (n // 6),
}


def _seconds(text: str) -> float:
    """The least of three."""

    def once() -> float:
        start = time.process_time()
        episode_spans(text, whole(text), BalancedSegmenter())
        return time.process_time() - start

    return min(once() for _ in range(3))


@pytest.mark.parametrize("name", HOSTILE)
def test_time_grows_as_the_text_does(name: str) -> None:
    # Eight times the text: linear time is 8 times as much, quadratic time 64 times.
    short, long = _seconds(HOSTILE[name](12_500)), _seconds(HOSTILE[name](100_000))
    assert long <= 24 * short + 0.05


@dataclass(frozen=True)
class Real:
    """A real trace, cut; its length in tokens as several tokenizers count them."""

    text: str
    thinking: Thinking
    num_tokens: dict[str, float]
    spans: tuple[Span, ...]


def real_traces() -> list[Real]:
    folder = os.environ.get("MRT_REWARD_TEST_DATA")
    if not folder:
        pytest.skip("MRT_REWARD_TEST_DATA names no folder of real traces")
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    found: list[Real] = []
    for line in (Path(folder) / "traces_qwen3_32b.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        text = record["completion"]
        thinking = find_thinking(text, Delimiters(), opened=False)
        assert thinking is not None
        thought = text[thinking.start : thinking.end]
        counts = {
            "the policy's, as reported": float(record["reasoning_tokens"]),
            "four characters each": len(thought) / 4,
            "mini's": float(len(tokenizer.encode(thought, add_special_tokens=False).ids)),
        }
        found.append(Real(text, thinking, counts, episode_spans(text, thinking, BalancedSegmenter())))
    assert len(found) == 35
    return found


def test_episodes_are_dense_on_real_traces() -> None:
    traces = real_traces()
    counts = [len(trace.spans) for trace in traces]
    single = [trace for trace in traces if len(trace.spans) == 1]
    assert len(single) <= 2
    assert all(max(trace.num_tokens.values()) <= 400 for trace in single)
    assert median(counts) >= 4
    assert max(counts) <= 8
    for trace in traces:
        if max(trace.num_tokens.values()) >= 800:
            length = trace.thinking.end - trace.thinking.start
            assert len(trace.spans) >= 4
            assert max(span.end - span.start for span in trace.spans) <= length / 2


def test_real_traces_are_cut_at_sentences_and_in_no_formula() -> None:
    for trace in real_traces():
        found = find_boundaries(trace.text, trace.thinking.span, BalancedSegmenter().markers)
        starts = {span.start for span in trace.spans[1:]}
        assert starts <= {*found.marked, *found.sentences}
        assert not any(formula.start < at < formula.end for formula in found.formulas for at in starts)


def test_real_prefixes_continued_by_their_own_rest_have_the_episodes_of_the_whole() -> None:
    for trace in real_traces():
        for index, span in enumerate(trace.spans):
            assert spans_after(trace.text, trace.thinking, BalancedSegmenter(), span.start) == trace.spans[index:]
