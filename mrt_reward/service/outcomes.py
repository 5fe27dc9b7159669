"""The outcome reward r of a finished trace: what its caller says, what the grader says, or unknown."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from mrt_reward.errors import GraderError, MRTRewardError, translated
from mrt_reward.protocols import GradeItem, Grader
from mrt_reward.service.encoding import Finished
from mrt_reward.service.estimators import outcome_of
from mrt_reward.types import Trace, Verdict

BOX = "\\boxed"
UNCLOSED = (
    "the thinking holds a right boxed answer but is never closed, so the outcome is 0: set options.delimiters to what "
    "closes this model's thinking, or allow longer responses"
)

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class JudgedOutcome:
    """The outcome, None where it is not known, and what the caller should know about it."""

    outcome: float | None
    warning: str = ""


def needs_grading(trace: Trace, grader: Grader) -> bool:
    """Whether the outcome has to be found, and can be: the caller does not say it, and the gold answer is there."""
    return trace.outcome is None and bool(trace.answer or not grader.needs_answer)


async def judged(trace: Trace, problem: str, finished: Finished | None, grader: Grader) -> JudgedOutcome:
    """The outcome of a trace that `needs_grading`.

    Args:
        trace: for its gold answers.
        problem: what was asked.
        finished: what it came to; None where its text is not known, and then nor is its outcome.
        grader: judges the answer.

    """
    if finished is None:
        return JudgedOutcome(None)
    if finished.cut_off:
        # Cut off while thinking: there is no answer, which is a miss.
        item = GradeItem(finished.text, trace.answer, problem)
        return JudgedOutcome(0.0, await _warning_of_unclosed(item, grader))
    [grade] = await grader.grade([GradeItem(finished.text, trace.answer, problem)])
    return JudgedOutcome(outcome_of(grade))


async def _warning_of_unclosed(item: GradeItem, grader: Grader) -> str:
    if BOX not in item.completion:
        return ""
    try:
        with translated(lambda error: GraderError(f"the grader failed: {type(error).__name__}: {error}")):
            [grade] = await grader.grade([item])
    except MRTRewardError:  # the outcome is known without this verdict, so its loss is only logged
        logger.warning("unclosed_thinking_not_graded", exc_info=True)
        return ""
    return UNCLOSED if grade.verdict is Verdict.CORRECT else ""
