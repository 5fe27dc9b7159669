from __future__ import annotations

import pytest

from mrt_reward.graders.exact import ExactGrader
from mrt_reward.protocols import GradeItem, Grader
from mrt_reward.types import Verdict


@pytest.mark.parametrize(
    ("completion", "answers", "verdict"),
    [
        (r"so \boxed{New  York}", ("new york",), Verdict.CORRECT),
        ("  New York\n", ("x", "$new york$"), Verdict.CORRECT),
        ("Paris", ("new york",), Verdict.INCORRECT),
        ("0.5", ("1/2",), Verdict.INCORRECT),
        ("<think>Paris</think>", ("paris",), Verdict.UNPARSED),
        ("Paris", (" ",), Verdict.UNGRADED),
    ],
)
async def test_exact_match_up_to_space_and_case(completion: str, answers: tuple[str, ...], verdict: Verdict) -> None:
    grader: Grader = ExactGrader()
    (grade,) = await grader.grade([GradeItem(completion, answers)])
    assert grade.verdict is verdict
    assert (grader.needs_answer, grader.binary, grader.identity) == (True, True, "exact:rules=1")
    await grader.close()


async def test_an_open_box_has_no_answer() -> None:
    (grade,) = await ExactGrader().grade([GradeItem("{Paris", ("paris",), boxed_prefix=True)])
    assert grade.verdict is Verdict.UNPARSED
