"""Answers without a single box, through the real grader: what a text states for a gold, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence

from mrt_reward.graders.math import MathGrader
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict

RIGHT = [
    ("The answer is 10!.", "10!"), ("The roots are 1, 2, and 3.", "1,2,3"),
    ("The answer is (-inf, 3].", r"(-\infty,3]"), (r"\begin{align}x &= 5\end{align}", "5"), ("The answer is +5.", "5"),
    ("The answer is ±3.", "3,-3"), ("The answer is e.", "e"), ("The answer is ∞.", r"\infty"),
    ("The answer is infinity.", r"\infty"), ("1, 2", "1,2"), ("The answer is Monday, since it rains.", "Monday"),
    ("The answers are A and B.", "A,B"), ("Answer: A, C", "A,C"), ("Answer: (A), (C)", "A,C"), ("Answer: AC", "AC"),
    ("The answer is 3/7.", "3/7"), ("The answer is 2^5.", "32"), ("So we get 10/3.", "10/3"),
    ("The answer is 1+2.", "3"), ("The answer is 1 + 2.", "3"), ("The answer is 3.14.", "3.14"),
    ("The answer is 0.5.", "1/2"), ("The answer is 1,000.", "1000"), ("The answer is 1 000.", "1000"),
    ("The answer is 2 1/2.", "5/2"), ("The answer is -5.", "-5"), ("The answer is −5.", "-5"),
    ("The answer is 5x.", "5x"), ("The answer is x + 3.", "x+3"), ("The answer is x^2 + 1.", "x^2+1"),
    ("The answer is 50%.", "50"), (r"The answer is $\frac{3}{7}$.", "3/7"),
    (r"The answer is \(\frac{3}{7}\).", "3/7"), (r"The answer is \[\frac{3}{7}.\]", "3/7"),
    ("Therefore the answer is:\n\n$$\n42\n$$", "42"), ("So the answer is 42, as required.", "42"),
    ("So the answer is 42 because 40 + 2 = 42.", "42"), ("The answer is 5 apples.", "5"),
    ("The answer is 12 cm.", "12"), ("The answer is 12 cm².", "12"), ("The answer is 60 km/h.", "60"),
    ("The answer is $18.90.", "18.9"), (r"The answer is \$18.90.", "18.9"), ("It costs $5.", "5"),
    ("Answer: 42", "42"), ("**Answer**: 42", "42"), ("**Answer: 42**", "42"), ("Final Answer: 42", "42"),
    ("### Final Answer\n42", "42"), ("### Answer\n\n$42$", "42"), ("#### 42", "42"),
    ("She has 3 + 4 = 7 left.\n#### 7", "7"), ("<answer>42</answer>", "42"),
    (r"<answer>\frac12</answer>", "0.5"), ("x = 5", "5"), ("So n = 12.", "12"),
    ("We conclude that $n = 12$.", "12"), ("$3 + 4 = 7$", "7"), ("3 + 4 = 7.", "7"),
    ("The answer is 5 or 7.", "5,7"), ("The answers are 3 and 5.", "3,5"), ("The answers are 3, 5.", "5,3"),
    ("The answers are $3$ and $5$.", "3,5"), ("The answer is (3, 4).", "(3,4)"),
    ("The answer is [1, 2).", "[1,2)"), ("The final answer is 42. I hope it is correct.", "42"),
    ("The final answer is $42$. I hope it is correct.", "42"), ("The answer is 5. Wait, the answer is 7.", "7"),
    ("The answer is 10^6.", "1000000"), ("the answer is 2*3*4.", "24"), ("The answer is (1+2)*3.", "9"),
    ("The answer is sqrt(2).", r"\sqrt2"), ("The answer is √2.", r"\sqrt2"), ("The answer is 2√3.", r"2\sqrt3"),
    ("The answer is 2π.", r"2\pi"), ("The answer is π/4.", r"\frac{\pi}{4}"), ("The answer is pi.", r"\pi"),
    ("The answer is 90°.", "90"), ("The answer is ½.", "0.5"), ("答案：42", "42"), ("答案是 42。", "42"),
    ("最终答案是：$42$", "42"), ("最终答案：3/7", "3/7"), ("The answer is 7!", "7"), ("The answer is 1e5.", "100000"),
    ("The answer is 3:2.", "3:2"), ("The answer is 1.", "1"), ("The answer is 1. 2 is wrong.", "1"),
    ("The total number is 12!", "12"), ("Thus there are 12 ways.", "12"),
    ("Thus there are 12 ways to do it in 3 days.", "3"), (r"The answer is \boxed 7", "7"),
    ("Answer: x = 3", "3"), ("Answer: Paris", "Paris"), ("The answer is Paris.", "Paris"),
    ("The answer is **Evelyn**.", "Evelyn"), ("Evelyn", "Evelyn"), ("<answer>Evelyn</answer>", "Evelyn"),
    ("The answer is yes.", "Yes"), ("Yes", "yes"), ("The answer is 3 / 7.", "3/7"),
    ("The answer is 3 ÷ 6.", "0.5"), ("The answer is 3 × 4.", "12"), ("The answer is 3×4.", "12"),
    ("The answer is 3·4.", "12"), ("The answer is 2^{10}.", "1024"), (r"The answer is \frac{3}{7}.", "3/7"),
    ("The answer is -3/4, since it is negative.", "-3/4"), (r"So the probability is \frac{1}{2}.", "0.5"),
    ("The answer: 5.", "5"), ("Answer - 5", "5"), ("ANSWER: 5", "5"), ("My answer is 5", "5"),
    ("answer=5", "5"), ("The answer is approximately 3.14.", "3.14"), ("The answer is about 5.", "5"),
    ("The answer is therefore 5.", "5"), ("The answer is exactly 5.", "5"),
    ("Hence, the value of $x$ is 5.", "5"), ("Hence the answer is $x = 5$ and $y = 3$.", "x=5,y=3"),
    ("The answer is 5.\n\nLet me know if you have 2 more questions.", "5"), ("The answer is 5$.", "5"),
    ("The answer is {5}.", "5"), ("The correct answer is B.", "B"), ("The correct answer is (B).", "B"),
    ("The correct answer is **B**.", "B"), ("The correct answer is **(B) 12**.", "B"), ("**B**", "B"),
    ("B.", "B"), ("(B) 12", "B"), ("B) 12", "B"), ("Option B", "B"), ("Option B is correct.", "B"),
    ("The answer is option B.", "B"), ("The answer is Option (B).", "B"), ("I choose B.", "B"),
    ("I pick (B).", "B"), ("So we choose B", "B"), ("Therefore, B is the correct answer.", "B"),
    ("(B) is correct.", "B"), ("The best answer is B because it is.", "B"), (r"The answer is $\boxed B$", "B"),
    (r"Answer: $\text{B}$", "B"), ("Answer: B) 12", "B"), ("Answer: B. Something", "B"),
    ("The answer is $B$.", "B"), (r"The answer is \(B\).", "B"), (r"The answer is \textbf{B}.", "B"),
    ("<answer>B</answer>", "B"), ("<answer>(B)</answer>", "B"), ("<answer>Option B</answer>", "B"),
    ("<answer>B. 12</answer>", "B"), ("答案：B", "B"), ("答案是B", "B"), ("所以选B。", "B"), ("故选 (B)", "B"),
    ("The answer is I think B", "B"), ("I believe the answer is C", "C"),
    ("A is not correct. So the answer is C.", "C"), ("The answer is (A). Actually, the answer is (C).", "C"),
    (r"So $\boxed{12}$. The answer is (C).", "C"), (r"$\boxed{12}$, which is option (C).", "C"),
    ("\\boxed{12}\n\nAnswer: C", "C"), (r"\boxed{B}. The answer is (C).", "B"),
    ("The answer is D, because A, B and C are wrong.", "D"), ("Final answer: C", "C"),
    ("Correct option: C", "C"), ("Correct choice: (C)", "C"), ("The correct option is (C) 12.", "C"),
    ("The right choice is C.", "C"), ("We select option C.", "C"), ("Thus, the answer is: C", "C"),
    ("Thus, the answer is\n\n**C**", "C"), ("The letter is C.", "C"), ("Answer is C", "C"), ("Ans: C", "C"),
    ("C is the answer.", "C"), ("It must be (C).", "C"), ("So the solution is (C) 12", "C"),
    (r"\boxed{3}, \boxed{5}", "3, 5"), (r"\boxed{3} and \boxed{5}", "3,5"),
    (r"$\boxed{3}$ and $\boxed{5}$", "5,3"), (r"$x = \boxed{3}$, $y = \boxed{5}$", "3,5"),
    (r"\boxed{3} or \boxed{5}", "5"), (r"\boxed{3}, \boxed{5}, \boxed{7}", "3,5,7"),
    ("\\boxed{3}\n\n\\boxed{5}", r"\{3,5\}"), (r"(a) $\boxed{3}$ (b) $\boxed{5}$", "3, 5"),
    (r"\boxed{x=3}, \boxed{y=5}", "x=3,y=5"),
    (r"\boxed{2}. " + "Later on we find more. " * 5 + r"\boxed{3} and \boxed{5}", "3,5"),
    (r"\boxed{3, 5}", "3,5"), (r"\boxed{A}, \boxed{C}", "A,C"),
    (r"\boxed{Alice} and \boxed{Bob}", "Alice and Bob"),
    ("It is B.", "B"), ("Hence (B).", "B"), ("Therefore, (B).", "B"), ("Thus B", "B"), ("I think it is C", "C"),
    ("I'd say B.", "B"), ("My choice: B", "B"), ("The answer is B. Wait, C is the answer.", "C"),
    ("The answer is not B. It is C.", "C"), ("The correct options are A and C.", "A,C"),
    ("The answer is twelve.", "12"),
    ("The answer is x >= 3.", r"[3,\infty)"), ("The train comes at 2:30 p.m. on Monday.", "2:30 PM"),
]  # fmt: skip

WRONG = [
    ("The answer is 3/7.", "3"), ("The answer is 3/7.", "7"), ("The answer is 2^5.", "2"),
    ("The answer is 2^5.", "5"), ("So we get 10/3.", "3"), ("The answer is 1+2.", "1"),
    ("The answer is 1 + 2.", "1"), ("The answer is 3.14.", "3"), ("The answer is 1,000.", "1"),
    ("The answer is 1 000.", "1"), ("The answer is 2 1/2.", "2"), ("The answer is -5.", "5"),
    ("The answer is 5x.", "5"), ("The answer is x + 3.", "3"), ("The answer is x^2.", "2"),
    ("<answer>3/7</answer>", "3"), ("The answer is 5 or 7.", "5"), ("The answer is 5 or 7.", "7"),
    ("The answer is (3, 4).", "(4,3)"), ("The answer is not 5.", "5"), ("I don't know.", "5"), ("", "5"),
    ("The answer is 5. Wait, the answer is 7.", "5"), ("The answer is 10^6.", "10"),
    ("the answer is 2*3*4.", "2"), ("最终答案：3/7", "3"), ("The capital is Paris", "Rome"), ("No", "yes"),
    ("The answer is 3 / 7.", "3"), (r"The answer is \frac{3}{7}.", "3"), ("The answer is A or B.", "A"),
    ("The answer is A or B.", "B"), ("The answer is (A) and (B).", "B"), ("The answer is not A.", "A"),
    ("The answer is a triangle.", "A"), ("The answer is A triangle.", "A"), ("I think it is a circle", "I"),
    ("I believe the answer is C", "I"), ("Option A is wrong.", "A"),
    ("A is not correct. So the answer is C.", "A"), ("The answer is (A). Actually, the answer is (C).", "A"),
    (r"So $\boxed{12}$. The answer is (C).", "D"), (r"\boxed{12}", "C"),
    ("Let C be a point. The answer is D.", "C"), (r"\boxed{3} or \boxed{5}", "3"),
    (r"\boxed{3}, \boxed{5}", "3"), (r"\boxed{3}, \boxed{5}, \boxed{7}", "3,5"),
    (r"\boxed{3}, \boxed{5}", "(3,5)"), (r"\boxed{x=5}, \boxed{y=3}", "x=3,y=5"),
    (r"\boxed{4}, \boxed{5}", "3,5"), (r"\boxed{1}, \boxed{234}", "1,234"),
    ("So B is wrong.", "B"), ("It is not B.", "B"), ("Therefore, A, B and C are collinear.", "A"),
    ("So I am done.", "I"),
    ("It is B or C.", "B"), ("The answer is 2:30 AM.", "2:30 PM"), ("The answer is six.", "5"),
]  # fmt: skip


async def accepted(cases: Sequence[tuple[str, str]]) -> list[bool]:
    grader = MathGrader(timeout_s=10)
    items = [GradeItem(f"<think>\nHm.\n</think>\n{answer}", (gold,)) for answer, gold in cases]
    try:
        grades = await grader.grade(items)
    finally:
        await grader.close()
    assert Verdict.UNGRADED not in {grade.verdict for grade in grades}
    return [grade.verdict is Verdict.CORRECT for grade in grades]


async def test_an_answer_in_another_notation_is_right() -> None:
    assert [case for case, right in zip(RIGHT, await accepted(RIGHT), strict=True) if not right] == []


async def test_another_answer_is_wrong_however_near_it_is() -> None:
    assert [case for case, right in zip(WRONG, await accepted(WRONG), strict=True) if right] == []
