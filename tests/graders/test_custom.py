from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.graders.custom import FunctionGrader, find_source, function_grade
from mrt_reward.graders.pool import Outcome, Reply
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Grade, Verdict


async def test_a_users_function_judges_in_a_worker() -> None:
    grader = FunctionGrader("tests.graders.functions:equal", num_workers=1, timeout_s=0.5)
    texts = ["4", "5", "raise", "hang", "4"]
    try:
        grades = [*await grader.grade([GradeItem(text, ("4",)) for text in texts])]
        (boxed,) = await grader.grade([GradeItem("{4}", (r"\boxed{4}",), boxed_prefix=True)])
    finally:
        await grader.close()
    expected = [Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNGRADED, Verdict.UNPARSED, Verdict.CORRECT]
    assert [grade.verdict for grade in grades] == expected
    assert grades[2].reason == "ValueError: told to"
    assert boxed.verdict is Verdict.CORRECT
    assert (grader.needs_answer, grader.binary, grader.pool.pids) == (False, True, ())


async def test_a_function_that_hangs_on_everything_is_ours() -> None:
    grader = FunctionGrader("tests.graders.functions:hang", num_workers=1, timeout_s=0.2)
    (grade,) = await grader.grade([GradeItem("4", ("4",))])
    await grader.close()
    assert grade.verdict is Verdict.UNGRADED


async def test_a_function_may_return_scores() -> None:
    grader = FunctionGrader("tests.graders.functions:length", scores=True, num_workers=1)
    grades = await grader.grade([GradeItem(text, ()) for text in ("12", "123456789", "none")])
    await grader.close()
    assert grades[:2] == [Grade(Verdict.INCORRECT, score=0.2), Grade(Verdict.CORRECT, score=0.9)]
    assert grades[2] == Grade(Verdict.UNGRADED, reason="ValueError: the function returned None")
    assert not grader.binary
    assert grader.identity.startswith("score:tests.graders.functions:length,source=")


def test_a_verdict_wants_true_or_false() -> None:
    assert function_grade(Reply(Outcome.JUDGED, {"score": 0.0}), scores=False) == Grade(Verdict.INCORRECT)
    grade = function_grade(Reply(Outcome.JUDGED, {"score": 0.3}), scores=False)
    assert grade.verdict is Verdict.UNGRADED
    assert "score:module:function" in grade.reason


def test_a_module_is_found_without_importing_it() -> None:
    assert find_source("tests.graders.functions") == Path(__file__).with_name("functions.py")
    assert find_source("no_such_module") is None
    assert find_source("tests.no_such_module") is None
    assert find_source("tests.graders.functions.deeper") is None
    assert FunctionGrader("no_such_module:f").identity.startswith("function:no_such_module:f,source=unknown")


def test_a_path_needs_a_module_and_a_function() -> None:
    with pytest.raises(ValueError, match="expected module:function"):
        FunctionGrader("tests.graders.functions")
