"""Agreement with another grader on real solutions.

Every disagreement, and who is right (`python -m pytest tests/graders/test_agreement.py -s` prints them):

    class               disagreements   who is right
    225 right           none
    15 wrong            none            for 8 of them both graders are: the gold `4:30p..` is a damaged `4:30p.m.`, and
                                        the solutions' 4:30 p.m. is the true answer, which no grader can know
    240 paired          none
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrt_reward.graders.math import MathGrader
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict


@dataclass(frozen=True)
class Solution:
    problem: str
    answer: str
    completion: str
    correct: bool


@pytest.fixture
def solutions() -> list[Solution]:
    folder = os.environ.get("MRT_REWARD_TEST_DATA")
    if not folder:
        pytest.skip("MRT_REWARD_TEST_DATA names no folder with math_solutions.jsonl")
    lines = (Path(folder) / "math_solutions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = map(json.loads, lines)
    return [Solution(row["problem"], row["answer"], row["completion"], row["correct"]) for row in rows]


async def test_agrees_with_another_grader_and_refuses_other_problems_answers(solutions: list[Solution]) -> None:
    grader = MathGrader(timeout_s=10.0)
    try:
        # Pair each solution with the next problem whose answer is a different one; the 30 answers are all distinct
        # numbers or expressions once equal strings are left out. Right solutions must also not equal it by chance.
        answers = list(dict.fromkeys(solution.answer for solution in solutions))
        others = [answers[(answers.index(s.answer) + 1 + k % (len(answers) - 1)) % len(answers)]
                  for k, s in enumerate(solutions)]  # fmt: skip
        own = await grader.grade([GradeItem(s.completion, (s.answer,)) for s in solutions])
        foreign = await grader.grade([GradeItem(s.completion, (o,)) for s, o in zip(solutions, others, strict=True)])
    finally:
        await grader.close()
    table = Counter((s.correct, grade.verdict.value) for s, grade in zip(solutions, own, strict=True))
    paired = Counter(grade.verdict.value for grade in foreign)
    print(f"\nown answers {dict(table)}; other problems' answers {dict(paired)}")
    for s, grade in zip(solutions, own, strict=True):
        if (grade.verdict is Verdict.CORRECT) != s.correct:
            print(f"disagreement: gold {s.answer!r}, {grade}, ends {s.completion[-120:]!r}")
    for s, other, grade in zip(solutions, others, foreign, strict=True):
        if grade.verdict is Verdict.CORRECT:
            print(f"disagreement: foreign gold {other!r}, ends {s.completion[-120:]!r}")

    num_right = sum(s.correct for s in solutions)
    assert table[True, "correct"] >= 0.98 * num_right
    assert table[False, "correct"] <= 1
    assert paired["correct"] <= 0.02 * len(solutions)
    assert Verdict.UNGRADED not in {grade.verdict for grade in (*own, *foreign)}
