"""A grader and a speller small enough to read, for tests of the pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mrt_reward.protocols import GradeItem
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Grade, Trace, Verdict


class WordGrader:
    """Correct if a gold answer is one of the words; knows the words `unparsed`, `ungraded` and `explode`."""

    def __init__(self, *, binary: bool = True, needs_answer: bool = True) -> None:
        self.identity = "word 1"
        self.binary = binary
        self.needs_answer = needs_answer
        self.seen: list[GradeItem] = []
        self.closed = False

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        self.seen.extend(items)
        return [self._grade(item) for item in items]

    def _grade(self, item: GradeItem) -> Grade:
        words = item.completion.replace("{", " ").replace("}", " ").split()
        if "explode" in words:
            raise RuntimeError("boom")
        for verdict in (Verdict.UNPARSED, Verdict.UNGRADED):
            if verdict.value in words:
                return Grade(verdict)
        right = any(answer in words for answer in item.answers)
        verdict = Verdict.CORRECT if right else Verdict.INCORRECT
        return Grade(verdict, None if self.binary else (0.75 if right else 0.25))

    async def close(self) -> None:
        self.closed = True


def speller(answer: str) -> tuple[str, ...]:
    return (answer,)


MakeScorer = Callable[..., Scorer]


@pytest.fixture
def grader() -> WordGrader:
    return WordGrader()


@pytest.fixture
def make_scorer(grader: WordGrader) -> MakeScorer:
    def make(prover: ScriptedProver, **kwargs: object) -> Scorer:
        return Scorer(prover, {"word": grader}, speller, **kwargs)  # type: ignore[arg-type]

    return make


THINKING = "First.\n\na.\n\nb.\n\nWait, second.\n\nc.\n\nd.\n\nAlternatively, third.\n\ne.\n\nf.\n"


def make_trace(trace_id: str = "t", **changes: object) -> Trace:
    fields: dict[str, object] = {
        "id": trace_id,
        "problem": "6 times 7?",
        "completion": THINKING + "</think>\n\nThe final answer is \\boxed{42}",
        "answer": ("42",),
    }
    return Trace(**{**fields, **changes})  # type: ignore[arg-type]
