from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.episodes import Thinking
from mrt_reward.core.prefixes import align, plan_prefixes
from mrt_reward.types import Episode, Span


def test_a_cut_inside_a_token_moves_to_its_end() -> None:
    # Tokens "ab" "cd" "ef": a cut after "abc" moves to after "abcd".
    episodes = align([Span(0, 3), Span(3, 6)], np.array([2, 4, 6], np.int32), token_offset=5)
    assert episodes == (Episode(0, 4, 5, 7), Episode(4, 6, 7, 8))


def test_an_episode_within_its_predecessors_last_token_is_swallowed() -> None:
    episodes = align([Span(0, 1), Span(1, 2), Span(2, 6)], np.array([3, 6], np.int32))
    assert episodes == (Episode(0, 3, 0, 1), Episode(3, 6, 1, 2))


def test_a_character_of_several_tokens_is_never_cut() -> None:
    # "é" is two tokens, and complete at the second: the first one's end is still that of "a".
    assert align([Span(0, 2), Span(2, 3)], np.array([1, 1, 2, 3], np.int32)) == (
        Episode(0, 2, 0, 3),
        Episode(2, 3, 3, 4),
    )


def test_a_character_of_several_tokens_after_a_cut_stays_whole() -> None:
    # "a\\n\\n🙂b": "a", "\\n\\n", four bytes of the emoji, "b". The first three complete nothing, so they end at 3 too.
    char_ends = np.array([1, 3, 3, 3, 3, 4, 5], np.int32)
    assert align([Span(0, 3), Span(3, 5)], char_ends) == (Episode(0, 3, 0, 2), Episode(3, 5, 2, 7))


@given(st.text(st.sampled_from("ab\n é中🙂"), min_size=1, max_size=20), st.data())
def test_prefixes_of_byte_tokens_are_valid_text(text: str, data: st.DataObject) -> None:
    # One token a byte: the character that a byte belongs to is complete at its last byte.
    widths = [len(character.encode()) for character in text]
    ends = [index + (j == width - 1) for index, width in enumerate(widths) for j in range(width)]
    inner = sorted(data.draw(st.sets(st.integers(0, len(text)))) - {0, len(text)})
    spans = [Span(start, end) for start, end in pairwise([0, *inner, len(text)])]
    episodes = align(spans, np.array(ends, np.int32))
    assert [Span(episode.char_start, episode.char_end) for episode in episodes] == spans
    for episode, span in zip(episodes, spans, strict=True):
        assert text.encode()[episode.token_start : episode.token_end].decode() == text[span.start : span.end]


def test_no_tokens_make_no_episodes() -> None:
    assert align([], np.zeros(0, np.int32)) == ()
    assert align([Span(0, 1)], np.zeros(0, np.int32)) == ()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=12), st.integers(0, 9))
def test_prefixes_nest(widths: list[int], offset: int) -> None:
    char_ends = np.cumsum(widths, dtype=np.int32)
    spans = [Span(start, end) for start, end in pairwise([0, *char_ends.tolist()])]
    episodes = align(spans, char_ends, token_offset=offset)
    length = int(char_ends[-1])
    plan = plan_prefixes("a" * length, Thinking(0, length, False, length, False), episodes)
    assert plan.cuts[0] == 0
    assert plan.cuts[-1] == len(widths)
    assert all(before < after for before, after in pairwise(plan.cuts))
    assert plan.midline == (False, *[True] * len(episodes))
    assert not plan.natural_end


def test_prefixes_are_slices_of_the_thinkings_tokens() -> None:
    completion = "<think>a\nbc</think>"
    thinking = Thinking(7, 11, closed=True, answer_start=11, opened_by_text=True)
    plan = plan_prefixes(completion, thinking, (Episode(7, 9, 1, 3), Episode(9, 11, 3, 5)))
    assert plan.cuts == (0, 2, 4)
    assert plan.natural_end
    assert plan.midline == (False, False, True)


def test_empty_thinking_has_one_prefix() -> None:
    plan = plan_prefixes("</think>", Thinking(0, 0, True, 0, False), ())
    assert (plan.cuts, plan.natural_end, plan.midline) == ((0,), True, (False,))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30), st.data())
def test_aligned_episodes_partition_characters_and_tokens(widths: list[int], data: st.DataObject) -> None:
    char_ends = np.cumsum(widths, dtype=np.int32)
    length = int(char_ends[-1])
    inner = sorted(data.draw(st.sets(st.integers(1, length - 1)) if length > 1 else st.just(set[int]())))
    cuts = [0, *inner, length]
    episodes = align([Span(start, end) for start, end in pairwise(cuts)], char_ends, token_offset=3)
    assert (episodes[0].char_start, episodes[0].token_start) == (0, 3)
    assert (episodes[-1].char_end, episodes[-1].token_end) == (length, 3 + len(widths))
    for before, after in pairwise(episodes):
        assert (before.char_end, before.token_end) == (after.char_start, after.token_start)
    for episode in episodes:
        assert char_ends[episode.token_end - 4] == episode.char_end
