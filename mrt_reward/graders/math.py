r"""Mathematical equality of a completion's answer and a gold answer.

    completion → answer → (numbers and letters, decided here) → (math-verify, in a worker that can be killed) → verdict

Most answers never reach a worker. Those that do share it with nobody while they are judged.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from mrt_reward.graders.answers import MAX_ANSWER_CHARS, Answer, clean, find_answer
from mrt_reward.graders.assignments import num_elements
from mrt_reward.graders.characters import in_latex
from mrt_reward.graders.choices import (
    choice_letter,
    choices_agree,
    named_choice,
    names_several,
    stated_choice,
    unwrapped,
)
from mrt_reward.graders.clock import names_half, stated_time, times_agree
from mrt_reward.graders.golds import read_gold
from mrt_reward.graders.judges import MATH_PROBE
from mrt_reward.graders.notation import plain
from mrt_reward.graders.numbers import bases_agree, numbers_agree
from mrt_reward.graders.pool import Outcome, Reply, WorkerPool
from mrt_reward.graders.quantities import units_differ
from mrt_reward.graders.reading import read_texts
from mrt_reward.graders.restating import restates
from mrt_reward.graders.statements import stated_answer
from mrt_reward.graders.words import in_digits, words_agree
from mrt_reward.protocols import GradeItem, Party, asking_party
from mrt_reward.types import Grade, Verdict

TIMEOUT_S = 0.9
"""More than twice what innocent answers need, the quick look included."""
QUICK_S = 0.15
"""Most answers need less. One that needs more goes behind those of others, and is then given the rest."""
MEMORY_MB = 1024
NUM_WORKERS = 2
_RULES = 2
_TIGHT = re.compile(r" ?([;()\[\]=+-]|,(?! ?[0-9])) ?")
_BEST_FIRST = (Verdict.CORRECT, Verdict.UNGRADED, Verdict.INCORRECT, Verdict.UNPARSED)
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
        """Identity: versions of the libraries, and limits."""
        return self._identity

    @property
    def num_kills(self) -> Mapping[str, int]:
        """By reason; see `WorkerPool.num_kills`."""
        return self._pool.num_kills

    @property
    def pool(self) -> WorkerPool:
        """The pool of worker processes."""
        return self._pool

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items; items that ask the same are judged once."""
        grades: dict[GradeItem, Grade] = {}
        waiting: dict[tuple[AnswerComparison, ...], list[GradeItem]] = {}
        distinct = list(dict.fromkeys(items))
        for item, decided in zip(distinct, await read_texts(distinct, _decide), strict=True):
            if isinstance(decided, Grade):
                grades[item] = decided
            else:
                waiting.setdefault(decided, []).append(item)
        party = asking_party()
        replies = await asyncio.gather(*(self._compare(comparisons, party) for comparisons in waiting))
        for same, grade in zip(waiting.values(), replies, strict=True):
            grades.update(dict.fromkeys(same, grade))
        return [grades[item] for item in items]

    async def _compare(self, comparisons: Sequence[AnswerComparison], party: Party) -> Grade:
        """The best grade of several comparisons; one that is right is enough, whatever became of the others."""
        grades = [await self._compare_one(comparison, party) for comparison in comparisons]
        return min(grades, key=lambda grade: _BEST_FIRST.index(grade.verdict))

    async def _compare_one(self, comparison: AnswerComparison, party: Party) -> Grade:
        payload = {"answer": comparison.text, "golds": list(comparison.golds)}
        # A gold answer that hangs the worker by itself is nobody's fault but ours.
        harmless = {"answer": "1", "golds": list(comparison.golds)}
        return to_grade(await self._pool.judge(payload, lambda: (MATH_PROBE, harmless), party))

    async def close(self) -> None:
        """Stop the workers."""
        await self._pool.close()


@dataclass(frozen=True, slots=True)
class AnswerComparison:
    """What plain text cannot decide: whether `text` equals one of `golds`, both in the notation of `plain`."""

    text: str
    golds: tuple[str, ...]


def _decide(item: GradeItem) -> Grade | tuple[AnswerComparison, ...]:
    golds = tuple(gold for gold in map(read_gold, item.answers) if gold)
    return decide(find_answer(item), golds, item.problem)


def quick_grade(answer: Answer | None, golds: Sequence[str], problem: str = "") -> Grade | None:
    """The grade of what plain text can decide; None for what needs mathematics. Arguments are those of `decide`."""
    decided = decide(answer, golds, problem)
    return decided if isinstance(decided, Grade) else None


def decide(answer: Answer | None, golds: Sequence[str], problem: str = "") -> Grade | tuple[AnswerComparison, ...]:
    """The grade of what plain text can decide, else what to ask mathematics.

    Args:
        answer: what was answered.
        golds: accepted answers, as `read_gold` gives them, and not blank.
        problem: what was asked; an answer that only repeats an expression of it is a miss.

    """
    if not golds:
        return Grade(Verdict.UNGRADED, reason="no gold answer")
    if answer is None:
        return _NO_ANSWER
    if answer.boxed and len(answer.text) > MAX_ANSWER_CHARS:
        return Grade(Verdict.UNPARSED, reason=f"the answer is longer than {MAX_ANSWER_CHARS} characters")
    texts = {gold: text for gold in golds if (text := answer_for(answer, gold))}
    if not texts:
        return _NO_ANSWER
    open_golds: dict[str, list[str]] = {}
    repeats = False
    for gold, text in texts.items():
        same = _agree(text, gold)
        if same is not False and text != gold and restates(plain(text), problem, golds):
            repeats, same = True, False
        if same:
            return Grade(Verdict.CORRECT)
        if same is None:
            open_golds.setdefault(plain(text), []).append(plain(gold))
    if not open_golds:
        return Grade(Verdict.INCORRECT, reason="the answer repeats the problem" if repeats else "")
    return tuple(AnswerComparison(text, tuple(dict.fromkeys(own))) for text, own in open_golds.items())


def answer_for(answer: Answer, gold: str) -> str | None:
    """The text that answers a gold of this kind; None where there is none.

    A letter that is stated in words counts where the box has none, and several boxes are the parts of a gold that has
    as many.
    """
    text = clean(answer.text)
    if text == gold:
        return text
    if choice_letter(gold) is not None:
        if answer.boxed and (named_choice(text) or not answer.around):
            return text
        return stated_choice(answer.around or text) or (text if answer.boxed else None)
    if not answer.boxed and names_half(gold):
        return stated_time(text)
    if not answer.boxed:
        words = in_digits(gold) == gold and words_agree("", gold) is not None
        stated = stated_answer(text, words=words or names_several(gold))
        return clean(stated) if stated and len(stated) <= MAX_ANSWER_CHARS else None
    if 1 < len(answer.boxes) == num_elements(plain(gold)) and num_elements(plain(text)) == 1:
        return ", ".join(answer.boxes)
    return text


def _agree(text: str, gold: str) -> bool | None:
    """Whether an answer equals a gold; None where only mathematics can tell."""
    if text == gold:
        return True
    text, gold = in_digits(text), in_digits(gold)
    for agree in (choices_agree, words_agree, times_agree):
        if (same := agree(text, gold)) is not None:
            return same
    bare = unwrapped(text).casefold()
    if bare == unwrapped(gold).casefold() and not set(bare) & set("\\^_") and not bare.isalpha():
        return True
    text, gold = in_latex(text), in_latex(gold)
    if units_differ(text, gold):
        return False
    text, gold = plain(text), plain(gold)
    if _TIGHT.sub(r"\1", text) == _TIGHT.sub(r"\1", gold):
        return True
    same = bases_agree(text, gold)
    return numbers_agree(text, gold) if same is None else same


def to_grade(reply: Reply) -> Grade:
    """The grade of a worker's reply: killed twice by the answer is a miss, our own failure is no grade."""
    if reply.outcome is Outcome.JUDGED:
        return Grade(Verdict(str(reply.result["verdict"])), reason=str(reply.result.get("reason", "")))
    verdict = Verdict.UNPARSED if reply.outcome is Outcome.KILLED else Verdict.UNGRADED
    return Grade(verdict, reason=reply.reason)
