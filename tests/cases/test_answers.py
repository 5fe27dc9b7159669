"""Answers as graders judge them, and golds as likelihood spells them."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from mrt_reward.graders.math import MathGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict
from tests.cases.public import CASES, LEFT, MAX_LEFT, Case, cases, settle

NESTED = {"3,000 nested parentheses": "(" * 3000 + "1" + ")" * 3000, "900 nested braces": "{" * 900 + "1" + "}" * 900}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def grader() -> AsyncGenerator[MathGrader]:
    grader = MathGrader(timeout_s=10.0)
    yield grader
    await grader.close()


def item(case: Case) -> GradeItem:
    written, gold = str(case.asked["answer"]), str(case.asked["gold"])
    answer = NESTED.get(written, written)
    boxed = case.asked.get("where", r"in \boxed{}") == r"in \boxed{}"
    return GradeItem(f"{{{answer}}}" if boxed else answer, (gold,), boxed_prefix=boxed)


async def judge(grader: MathGrader, case: Case) -> None:
    [grade] = await grader.grade([item(case)])
    verdict = grade.verdict

    def right() -> None:
        # No answer found is as much of a miss as a wrong one.
        assert (verdict is Verdict.CORRECT) == (case.expected == "correct"), f"{case.asked}: {verdict.value}"
        assert verdict is not Verdict.UNGRADED

    settle(case, right)


@cases("grader")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_boxed_answer_is_judged_as_its_reporter_expects(grader: MathGrader, case: Case) -> None:
    await judge(grader, case)


@cases("grader-free-text")
@pytest.mark.asyncio(loop_scope="module")
async def test_free_text_is_judged_as_its_reporter_expects(grader: MathGrader, case: Case) -> None:
    await judge(grader, case)


@cases("grader-time")
@pytest.mark.asyncio(loop_scope="module")
async def test_an_answer_that_takes_for_ever_is_settled_and_holds_nobody_up(grader: MathGrader, case: Case) -> None:
    hostile, harmless = await grader.grade([item(case), GradeItem(r"{\frac{1}{2}}", ("0.5",), boxed_prefix=True)])
    assert hostile.verdict is not Verdict.UNGRADED
    assert harmless.verdict is Verdict.CORRECT


@cases("spelling")
def test_what_a_model_writes_is_among_the_spellings(case: Case) -> None:
    gold, written = case.asked["gold"], case.asked["model writes"]
    settle(case, lambda: _check_spelling(gold, written, among=bool(case.expected)))


def _check_spelling(gold: str, written: str, *, among: bool) -> None:
    assert (written in spellings(gold)) == among, spellings(gold)


def test_few_cases_are_left_and_each_says_why() -> None:
    known = {case.id for case in CASES}
    assert len(LEFT) <= MAX_LEFT
    assert all(LEFT.values())
    assert not known or set(LEFT) <= known
