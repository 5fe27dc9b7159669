from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.mini.island import (
    CANDIDATE_COUNTS,
    EXITS,
    NUM_EXITS,
    NUM_PLACES,
    NUM_STARTS,
    STARTS,
    SUCCESSOR,
    Problem,
    parse_problem,
    sample_problems,
    walk,
)


def test_every_place_leads_to_another_one_and_all_are_on_one_tour() -> None:
    assert sorted(SUCCESSOR) == list(range(NUM_PLACES))
    assert set(walk(0, NUM_PLACES)) == set(range(NUM_PLACES))
    assert len(EXITS) == NUM_EXITS
    assert len(set(STARTS)) == NUM_STARTS


@given(start=st.integers(0, NUM_PLACES - 1), steps=st.integers(1, 6))
def test_a_walk_goes_on_from_where_a_shorter_one_ended(start: int, steps: int) -> None:
    places = walk(start, steps)
    assert len(places) == steps
    assert walk(start, steps + 1) == (*places, SUCCESSOR[places[-1]])


def test_sampled_problems_have_one_answer_and_are_the_same_for_the_same_seed() -> None:
    problems = sample_problems(300, seed=3)
    assert problems == sample_problems(300, seed=3)
    assert problems != sample_problems(300, seed=4)
    assert {len(problem.candidates) for problem in problems} == set(CANDIDATE_COUNTS)
    for problem in problems:
        assert set(problem.candidates) <= set(STARTS)
        assert [place for place in problem.candidates if problem.works(place)] == [problem.answer]


def test_a_problem_is_read_back_from_text_around_it() -> None:
    for problem in sample_problems(50, seed=1):
        assert parse_problem(f"Hello. {problem.text} Think.") == problem


def test_other_text_holds_no_problem() -> None:
    with pytest.raises(ValueError, match="expected an island question"):
        parse_problem("6 * 7?")


def _wrong(steps: int, count: int) -> list[int]:
    return [place for place in range(NUM_PLACES) if walk(place, steps)[-1] not in EXITS][:count]


@pytest.mark.parametrize(
    ("candidates", "steps", "said"),
    [
        ((1, 2), 2, "steps must lie in 3"),
        ((1, 2), 7, "steps must lie in 3"),
        ((1, 1), 3, "distinct places"),
        ((1, NUM_PLACES), 3, "distinct places"),
        (tuple(_wrong(3, 2)), 3, "exactly one candidate"),
    ],
)
def test_what_is_no_problem_is_refused(candidates: tuple[int, ...], steps: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Problem(candidates, steps)
