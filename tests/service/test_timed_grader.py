"""Batches of answers are timed, those that fail are not, and the grader is the same otherwise."""

from __future__ import annotations

import pytest

from mrt_reward.protocols import GradeItem
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.service.timed_grader import TimedGrader
from mrt_reward.types import Verdict
from tests.service.conftest import WordGrader, make_trace, speller


async def test_each_batch_that_is_judged_is_timed() -> None:
    seconds: list[float] = []
    inner = WordGrader(binary=False, needs_answer=False)
    grader = TimedGrader(inner, seconds.append)
    assert (grader.identity, grader.binary, grader.needs_answer) == ("word 1", False, False)
    grades = await grader.grade([GradeItem("42", ("42",)), GradeItem("41", ("42",))])
    assert [grade.verdict for grade in grades] == [Verdict.CORRECT, Verdict.INCORRECT]
    assert len(seconds) == 1
    assert seconds[0] >= 0
    with pytest.raises(RuntimeError, match="boom"):
        await grader.grade([GradeItem("explode", ("42",))])
    assert len(seconds) == 1
    await grader.close()
    assert inner.closed


async def test_the_pipeline_times_the_grader_by_its_name() -> None:
    scorer = Scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0]), {"word": WordGrader()}, speller)
    names: list[str] = []
    scorer.on_graded = lambda name, _seconds: names.append(name)
    await scorer.score([make_trace()])
    assert names == ["word"]  # the outcome; likelihood has nothing else to judge
    await scorer.close()
