"""Exact match, up to white space and letter case."""

from __future__ import annotations

from collections.abc import Sequence

from mrt_reward.graders.answers import clean, find_answer
from mrt_reward.graders.golds import read_gold
from mrt_reward.graders.reading import read_texts
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Grade, Verdict


class ExactGrader:
    """An answer is right when it reads like a gold one; a completion without a box is an answer as a whole."""

    identity = "exact:rules=1"
    needs_answer = True
    binary = True

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items."""
        return await read_texts(items, _grade)

    async def close(self) -> None:
        """Does nothing: there are no workers."""


def _grade(item: GradeItem) -> Grade:
    golds = {reading for gold in item.answers if (reading := normalized(read_gold(gold)))}
    if not golds:
        return Grade(Verdict.UNGRADED, reason="no gold answer")
    answer = find_answer(item)
    if answer is None:
        return Grade(Verdict.UNPARSED, reason="no answer found")
    return Grade(Verdict.CORRECT if normalized(answer.text) in golds else Verdict.INCORRECT)


def normalized(text: str) -> str:
    """Without mathematical wrapping and case, white space collapsed."""
    return " ".join(clean(text).casefold().split())
