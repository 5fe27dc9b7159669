"""What a finished trace is worth, and what is never made up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mrt_reward.protocols import GradeItem
from mrt_reward.service.encoding import Finished
from mrt_reward.service.outcomes import UNCLOSED, JudgedOutcome, judged, needs_grading
from mrt_reward.types import Grade
from tests.service.conftest import WordGrader, make_trace

RIGHT_BOX = Finished("So \\boxed{ 42 }", cut_off=True)


@pytest.mark.parametrize(
    ("answer", "outcome", "needs_answer", "expected"),
    [
        (("42",), None, True, True),
        (None, None, True, False),  # nothing to compare with
        ((), None, True, False),
        (None, None, False, True),  # a judge of quality needs no gold answer
        (("42",), 0.0, True, False),  # a caller's 0 is an outcome
        (None, 0.5, False, False),
    ],
)
def test_the_grader_is_asked_where_the_caller_said_nothing_and_it_can_judge(
    answer: tuple[str, ...] | None, outcome: float | None, *, needs_answer: bool, expected: bool
) -> None:
    trace = make_trace(answer=answer, outcome=outcome)
    assert needs_grading(trace, WordGrader(needs_answer=needs_answer)) is expected


@pytest.mark.parametrize(
    ("text", "outcome"),
    [("It is 42", 1.0), ("It is 41", 0.0), ("unparsed", 0.0), ("ungraded", None)],
)
async def test_a_finished_trace_is_worth_what_the_grader_says(text: str, outcome: float | None) -> None:
    grader = WordGrader()
    assert await judged(make_trace(), "6 times 7?", Finished(text), grader) == JudgedOutcome(outcome)
    assert grader.seen == [GradeItem(text, ("42",), "6 times 7?")]


async def test_a_grader_of_scores_gives_the_score() -> None:
    grader = WordGrader(binary=False)
    assert await judged(make_trace(), "", Finished("It is 42"), grader) == JudgedOutcome(0.75)


async def test_of_a_trace_whose_text_is_not_known_nothing_is_known_and_nobody_is_asked(grader: WordGrader) -> None:
    assert await judged(make_trace(), "", None, grader) == JudgedOutcome(None)
    assert grader.seen == []


@pytest.mark.parametrize(
    ("thinking", "warning", "num_asked"),
    [
        ("So \\boxed{ 42 }", UNCLOSED, 1),
        ("So \\boxed{ 41 }", "", 1),
        ("So \\boxed ungraded", "", 1),
        ("So 42", "", 0),  # without a box it is no answer, and costs no grading
    ],
)
async def test_thinking_that_was_cut_off_is_a_miss_whatever_it_holds(
    grader: WordGrader, thinking: str, warning: str, num_asked: int
) -> None:
    assert await judged(make_trace(), "", Finished(thinking, cut_off=True), grader) == JudgedOutcome(0.0, warning)
    assert len(grader.seen) == num_asked


class Raising(WordGrader):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        raise self.error


async def test_a_grader_that_fails_makes_no_outcome_and_costs_none_that_is_known() -> None:
    grader = Raising(RuntimeError("the judge is out"))
    assert await judged(make_trace(), "", RIGHT_BOX, grader) == JudgedOutcome(0.0), "its warning is lost, and no more"
    with pytest.raises(RuntimeError, match="the judge is out"):
        await judged(make_trace(), "", Finished("It is 42"), grader)


async def test_whoever_leaves_while_a_warning_is_looked_for_is_not_kept() -> None:
    with pytest.raises(asyncio.CancelledError):
        await judged(make_trace(), "", RIGHT_BOX, Raising(asyncio.CancelledError()))
