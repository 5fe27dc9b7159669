from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.mini.charts import (
    ALL_COUNTS,
    DEEP,
    PLACES_PER_CANDIDATE,
    REGIMES,
    sample_charted,
    sample_charted_problems,
)
from mrt_reward.mini.island import EXITS, Problem, parse_problem, walk
from mrt_reward.mini.truth import open_candidates, prefixes, revealed_values
from mrt_reward.mini.writer import TIDY, walk_paragraphs, write_thinking

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_a_problem_prints_one_tour_through_all_its_places(seed: int) -> None:
    problem = sample_charted(np.random.default_rng(seed))
    leads = dict(problem.paths)
    place, seen = problem.candidates[0], set[int]()
    while place not in seen:
        seen.add(place)
        place = leads[place]
    assert seen == set(leads)
    assert len(leads) == PLACES_PER_CANDIDATE * len(problem.candidates)
    assert [each for each in problem.candidates if problem.walk(each)[-1] in EXITS] == [problem.answer]


@given(SEEDS)
def test_a_problem_is_read_back_from_text_around_it(seed: int) -> None:
    problem = sample_charted(np.random.default_rng(seed))
    assert parse_problem(f"Hello. {problem.text} Think.") == problem


def test_problems_are_the_same_for_the_same_seed_and_of_their_regime() -> None:
    problems = sample_charted_problems(100, 3, DEEP)
    assert problems == sample_charted_problems(100, 3, DEEP)
    assert problems != sample_charted_problems(100, 4, DEEP)
    assert {len(problem.candidates) for problem in problems} == set(DEEP.candidate_counts)
    assert {count for regime in REGIMES.values() for count in regime.candidate_counts} <= set(ALL_COUNTS)


def test_the_question_and_its_walk_in_words() -> None:
    exit_, other = min(EXITS), next(place for place in range(64) if place not in EXITS)
    a, b = [place for place in range(64) if place not in EXITS and place != other][:2]
    problem = Problem((a, b), 2, ((a, b), (b, exit_), (exit_, other), (other, a)))
    assert problem.text == (
        f"On this island, which of these places leads to an exit after exactly two steps: {a}, {b}? "
        f"Exactly one of them does. Its paths: {a}>{b}, {b}>{exit_}, {exit_}>{other}, {other}>{a}."
    )
    assert walk_paragraphs(problem, a) == (
        f"From {a} to {b} to {exit_}.",
        f"Place {exit_} is an exit, so it works from {a}.",
    )
    assert problem.answer == a


@given(SEEDS)
def test_a_tidy_search_reveals_something_in_every_episode(seed: int) -> None:
    rng = np.random.default_rng(seed)
    problem = sample_charted(rng)
    thinking = write_thinking(problem, TIDY, rng).text
    value_P = revealed_values(problem, prefixes(thinking))
    assert (np.diff(value_P) > 0).all()
    assert value_P[-1] == 1


def test_a_walk_counts_only_on_the_island_of_its_problem() -> None:
    [problem] = sample_charted_problems(1, 5, DEEP)
    wrong = next(place for place in problem.candidates if place != problem.answer)
    message = "\n\n".join(walk_paragraphs(problem, wrong)) + "\n\n"
    assert set(open_candidates(problem, message)) == set(problem.candidates) - {wrong}
    # The same places on an island where every path runs the other way.
    backwards = tuple((to, place) for place, to in problem.paths)
    right = next(place for place in dict(backwards) if walk(place, problem.steps, dict(backwards))[-1] in EXITS)
    others = [place for place in dict(backwards) if walk(place, problem.steps, dict(backwards))[-1] not in EXITS]
    other = Problem((right, *others[:3]), problem.steps, backwards)
    message = "".join("\n\n".join(walk_paragraphs(other, place)) + "\n\n" for place in other.candidates)
    assert open_candidates(problem, message) == problem.candidates


@pytest.mark.parametrize(
    ("paths", "steps", "said"),
    [(((1, 2), (2, 1)), 4, "steps must lie in 2"), (((1, 2),), 2, "every place must lead on")],
)
def test_what_is_no_island_is_refused(paths: tuple[tuple[int, int], ...], steps: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Problem((1, 2), steps, paths)
