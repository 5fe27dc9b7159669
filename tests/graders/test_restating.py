from __future__ import annotations

import pytest

from mrt_reward.graders.math import MathGrader
from mrt_reward.graders.restating import restates
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict

SUM = "What is $17 + 26 - 5$?"


@pytest.mark.parametrize(
    ("answer", "problem", "gold"),
    [
        ("17 + 26 - 5", SUM, "38"), ("26+17-5", SUM, "38"), ("-5+26+17", SUM, "38"), ("(17+26)-5", SUM, "38"),
        (r"\left(17+26-5\right)", SUM, "38"), ("x = 17+26-5", SUM, "38"), (r"17+26-5 \text{ apples}", SUM, "38"),
        ("17+26-5 = 17+26-5", SUM, "38"), ("2^{10}", "Compute 2^10.", "1024"), ("2**10", r"Compute $2^{10}$.", "1024"),
        (r"4\cdot(3+2)", "Evaluate (2+3)×4.", "20"), (r"\frac{6}{8}", "Simplify 6/8.", "3/4"),
        ("6/8", r"Simplify $\frac68$.", "3/4"), (r"\frac12+\frac13", r"Add \frac{1}{2} + \frac{1}{3}.", "5/6"),
        ("1,234+1", "What is 1234 + 1?", "1235"), ("100/4", r"$100 \div 4$", "25"), ("-5+3", "What is -5 + 3?", "-2"),
    ],
)  # fmt: skip
def test_an_expression_of_the_problem_restates_it(answer: str, problem: str, gold: str) -> None:
    assert restates(answer, problem, [gold])


@pytest.mark.parametrize(
    ("answer", "problem", "gold"),
    [
        ("38", SUM, "38"), ("17+26-5=38", SUM, "38"), ("43-5", SUM, "38"), ("17+21", SUM, "38"), ("17", SUM, "17"),
        ("17+26-5", SUM, "17+26-5"), ("17+26-5", "", "38"), ("2^{10}", "How many subsets have 10 elements?", "1024"),
        ("5-3", "What is 3-5?", "-2"), (r"\frac34", "Which is larger, 3/4 or 2/3?", "3/4"), ("7+8", "7 and 8", "15"),
        ("x+1", "Solve x+1", "x+1"), (r"\binom{5}{2}", "Choose 2 of 5", "10"), ("2+6", "12+6 and 2 + 61", "8"),
        ("1/2", "Half of it is 1/2. Solve for x.", "x = 1/2"), ("3/4", "It takes 3/4 hours.", r"\frac34\text{ hours}"),
    ],
)  # fmt: skip
def test_what_was_worked_out_or_is_the_gold_does_not_restate(answer: str, problem: str, gold: str) -> None:
    assert not restates(answer, problem, [gold])


async def test_a_copied_problem_is_a_miss_boxed_or_in_words() -> None:
    grader = MathGrader(timeout_s=10.0)
    cases = [
        (r"so \boxed{17 + 26 - 5}", False), ("The answer is 17+26-5.", False), (r"so \boxed{38}", True),
        ("The answer is 17 + 26 - 5 = 38.", True), (r"so \boxed{2 \cdot 19}", True),
    ]  # fmt: skip
    try:
        grades = await grader.grade([GradeItem(text, ("38",), SUM) for text, _ in cases])
        (forced,) = await grader.grade([GradeItem("{17+26-5}", ("38",), SUM, boxed_prefix=True)])
    finally:
        await grader.close()
    assert [grade.verdict is Verdict.CORRECT for grade in grades] == [right for _, right in cases]
    assert (forced.verdict, forced.reason) == (Verdict.INCORRECT, "the answer repeats the problem")
