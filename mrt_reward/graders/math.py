r"""Mathematical equality of a completion's answer and a gold answer.

    completion → answer → (numbers and letters, decided here) → (math-verify, in a worker that can be killed) → verdict

Most answers never reach a worker. Those that do share it with nobody while they are judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import version

from mrt_reward.graders.answers import MAX_ANSWER_CHARS, Answer, clean, find_answer
from mrt_reward.graders.golds import read_gold
from mrt_reward.graders.judges import MATH_PROBE
from mrt_reward.graders.numbers import choice_letter, choices_agree, numbers_agree, stated_choice
from mrt_reward.graders.pool import Outcome, Reply, WorkerPool
from mrt_reward.graders.reading import read_texts
from mrt_reward.protocols import GradeItem, asking_party
from mrt_reward.types import Grade, Verdict

TIMEOUT_S = 0.7
"""Twice this, and a new child, stay under two seconds: more than the worst answer costs."""
QUICK_S = 0.15
"""Most answers need less. One that needs more goes behind those of others, and is then given `TIMEOUT_S`."""
MEMORY_MB = 1024
NUM_WORKERS = 2
MAX_FREE_CHARS = 4_000
"""Without a box, the answer is looked for in this much of the end of the text."""

_RULES = 1
_NO_ANSWER = Grade(Verdict.UNPARSED, reason="no answer found")


class MathGrader:
    """Judges by math-verify: numbers, expressions, sets, intervals, matrices, equations; and by choice letters."""

    needs_answer = True
    binary = True

    def __init__(
        self, *, num_workers: int = NUM_WORKERS, timeout_s: float = TIMEOUT_S, memory_mb: int = MEMORY_MB
    ) -> None:
        self._pool = WorkerPool(
            "math", num_workers=num_workers, timeout_s=timeout_s, memory_mb=memory_mb, quick_s=QUICK_S
        )
        packages = ("math-verify", "latex2sympy2_extended", "sympy", "antlr4-python3-runtime")
        versions = ",".join(f"{package}={version(package)}" for package in packages)
        self._identity = f"math:{versions},rules={_RULES},timeout_s={timeout_s:g},memory_mb={memory_mb}"

    @property
    def identity(self) -> str:
        """Versions and limits."""
        return self._identity

    @property
    def pool(self) -> WorkerPool:
        """Its workers."""
        return self._pool

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items; items that ask the same are judged once."""
        grades: dict[GradeItem, Grade] = {}
        waiting: dict[tuple[Answer, tuple[str, ...]], list[GradeItem]] = {}
        distinct = list(dict.fromkeys(items))
        for item, (answer, golds, judged) in zip(distinct, await read_texts(distinct, _read), strict=True):
            if judged is not None or answer is None:
                grades[item] = judged or _NO_ANSWER
            else:
                waiting.setdefault((answer, golds), []).append(item)
        party = asking_party()
        replies = await asyncio.gather(*(self._ask(answer, golds, party) for answer, golds in waiting))
        for same, grade in zip(waiting.values(), replies, strict=True):
            grades.update(dict.fromkeys(same, grade))
        return [grades[item] for item in items]

    async def _ask(self, answer: Answer, golds: tuple[str, ...], party: object) -> Grade:
        text = answer.text if answer.boxed else answer.text[-MAX_FREE_CHARS:]
        payload = {"answer": text, "boxed": answer.boxed, "golds": list(golds)}
        # A gold answer that hangs the worker by itself is nobody's fault but ours.
        harmless = {"answer": "1", "boxed": True, "golds": list(golds)}
        return to_grade(await self._pool.judge(payload, lambda: (MATH_PROBE, harmless), party))

    async def close(self) -> None:
        """Stop the workers."""
        await self._pool.close()


def _read(item: GradeItem) -> tuple[Answer | None, tuple[str, ...], Grade | None]:
    """An item's answer, its gold answers, and its grade where text alone decides it."""
    answer = find_answer(item)
    golds = tuple(gold for gold in map(read_gold, item.answers) if gold)
    return answer, golds, quick_grade(answer, golds)


def quick_grade(answer: Answer | None, golds: Sequence[str]) -> Grade | None:
    """The grade of what plain text can decide; None for what needs mathematics.

    Args:
        answer: what was answered.
        golds: accepted answers, as `read_gold` gives them, and not blank.

    """
    if not golds:
        return Grade(Verdict.UNGRADED, reason="no gold answer")
    if answer is None:
        return _NO_ANSWER
    text = clean(answer.text)
    if not text:
        return _NO_ANSWER
    if text in golds:
        return Grade(Verdict.CORRECT)
    if not answer.boxed and all(choice_letter(gold) for gold in golds):
        stated = stated_choice(text)
        if stated is None:
            return _NO_ANSWER
        text = stated
    elif len(text) > MAX_ANSWER_CHARS and answer.boxed:
        return Grade(Verdict.UNPARSED, reason=f"the answer is longer than {MAX_ANSWER_CHARS} characters")
    agreements = [_agree(text, gold) for gold in golds]
    if any(agreements):
        return Grade(Verdict.CORRECT)
    return None if None in agreements else Grade(Verdict.INCORRECT)


def _agree(text: str, gold: str) -> bool | None:
    same = choices_agree(text, gold)
    return numbers_agree(text, gold) if same is None else same


def to_grade(reply: Reply) -> Grade:
    """The grade of a worker's reply: killed twice by the answer is a miss, our own failure is no grade."""
    if reply.outcome is Outcome.JUDGED:
        return Grade(Verdict(str(reply.result["verdict"])), reason=str(reply.result.get("reason", "")))
    verdict = Verdict.UNPARSED if reply.outcome is Outcome.KILLED else Verdict.UNGRADED
    return Grade(verdict, reason=reply.reason)
