from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.episodes import episode_spans as default_spans
from mrt_reward.core.episodes import find_thinking
from mrt_reward.mini.island import Problem, sample_problem
from mrt_reward.mini.truth import (
    checked_candidates,
    episode_spans,
    open_candidates,
    prefixes,
    revealed_values,
)
from mrt_reward.mini.writer import BASE_SLOPPINESS, TIDY, Sloppiness, walk_paragraphs, write_thinking
from mrt_reward.options import BalancedSegmenter, Delimiters

SEEDS = st.integers(0, 2**32 - 1)


def written(seed: int, sloppiness: Sloppiness = BASE_SLOPPINESS) -> tuple[Problem, str]:
    rng = np.random.default_rng(seed)
    problem = sample_problem(rng)
    return problem, write_thinking(problem, sloppiness, rng).text


@given(seed=SEEDS)
def test_what_was_revealed_is_never_forgotten(seed: int) -> None:
    problem, thinking = written(seed)
    values = revealed_values(problem, prefixes(thinking))
    assert values[0] == pytest.approx(1 / len(problem.candidates))
    assert (np.diff(values) >= 0).all()
    assert values.max() <= 1


@given(seed=SEEDS)
def test_a_tidy_writer_wastes_no_episode_and_ends_knowing(seed: int) -> None:
    problem, thinking = written(seed, TIDY)
    values = revealed_values(problem, prefixes(thinking))
    assert (np.diff(values) > 0).all()
    assert values[-1] == 1


@given(seed=SEEDS)
def test_the_default_segmenter_finds_the_natural_episodes(seed: int) -> None:
    _, thinking = written(seed)
    found = find_thinking(thinking + "</think>", Delimiters(), opened=True)
    assert found is not None
    spans = default_spans(thinking + "</think>", found, BalancedSegmenter(max_episodes=None))
    assert spans == episode_spans(thinking)
    if len(spans) <= 8:
        assert default_spans(thinking + "</think>", found, BalancedSegmenter()) == spans


@given(seed=SEEDS)
def test_episodes_partition_the_thinking(seed: int) -> None:
    _, thinking = written(seed)
    spans = episode_spans(thinking)
    assert "".join(thinking[span.start : span.end] for span in spans) == thinking
    assert prefixes(thinking)[-1] == thinking


def test_no_text_has_no_episode() -> None:
    assert episode_spans("") == ()
    assert prefixes("") == [""]


def test_a_check_counts_only_with_its_whole_walk_and_the_right_verdict() -> None:
    problem, _ = written(5)
    wrong = next(place for place in problem.candidates if place != problem.answer)
    walked, verdict = walk_paragraphs(problem, wrong)
    whole = f"Let me start with {wrong}.\n\n{walked}\n\n{verdict}\n\n"
    assert checked_candidates(problem, whole) == {wrong}
    # Cut before the separator that ends the verdict, the thought may have gone on.
    assert checked_candidates(problem, whole.rstrip()) == frozenset()
    assert checked_candidates(problem, f"{walked}\n\nPlace 1 is an exit, so it works from {wrong}.\n\n") == frozenset()
    assert checked_candidates(problem, f"{walked[:-3]}.\n\n{verdict}\n\n") == frozenset()
    assert checked_candidates(problem, f"{verdict}\n\n{walked}\n\n") == frozenset()


def test_the_answer_is_all_that_is_open_once_it_was_found() -> None:
    problem, _ = written(5)
    found = "\n\n".join(walk_paragraphs(problem, problem.answer)) + "\n\n"
    assert open_candidates(problem, found) == (problem.answer,)
    assert revealed_values(problem, ["", found]).tolist() == [1 / len(problem.candidates), 1.0]
    # Claiming it without the walk reveals nothing.
    claimed = f"Place 3 is an exit, so it works from {problem.answer}.\n\n"
    assert open_candidates(problem, claimed) == problem.candidates


def test_elimination_settles_it_without_a_walk() -> None:
    problem, _ = written(5)
    others = [place for place in problem.candidates if place != problem.answer]
    text = "".join("\n\n".join(walk_paragraphs(problem, place)) + "\n\n" for place in others)
    assert open_candidates(problem, text) == (problem.answer,)


def test_the_base_writer_wastes_a_share_of_its_episodes() -> None:
    progress = np.concatenate(
        [np.diff(revealed_values(problem, prefixes(text))) for problem, text in map(written, range(300))]
    )
    assert 0.25 <= np.mean(progress == 0) <= 0.6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"repeat": 1.0}, "repeat must be at least 0 and below 1"),
        ({"muse": -0.1}, "muse must be at least 0 and below 1"),
        ({"double_check": 0.6, "wander": 0.5}, "below 1"),
    ],
)
def test_a_writer_that_never_ends_is_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sloppiness(**settings)


@given(seed=SEEDS)
def test_a_choice_says_what_might_have_been_chosen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = sample_problem(rng)
    writing = write_thinking(problem, BASE_SLOPPINESS, rng)
    for choice in writing.choices:
        assert sum(choice.probability.values()) == pytest.approx(1)
        number = re.match(r"\d+", writing.text[choice.char_start :])
        assert number is not None
        assert choice.probability[int(number[0])] > 0
        assert choice.probability.keys() <= set(problem.candidates)
