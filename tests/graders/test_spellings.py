from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.answers import find_answer
from mrt_reward.graders.math import MathGrader, quick_grade
from mrt_reward.graders.spellings import MAX_SPELLINGS, spellings
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Grade, Verdict


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("42", ("42",)),
        ("$42$", ("42",)),
        ("27.0", ("27.0", "27")),
        ("1000", ("1000", "1,000")),
        ("-12,345", ("-12,345", "-12345")),
        ("073", ("073", "73")),
        (r"\boxed{\frac{1}{2}}", (r"\frac{1}{2}", r"\dfrac{1}{2}", "1/2", "0.5", ".5")),
        ("0.5", ("0.5", r"\frac{1}{2}", r"\dfrac{1}{2}", "1/2", ".5")),
        ("-1/3", ("-1/3", r"-\frac{1}{3}", r"-\dfrac{1}{3}", r"\frac{-1}{3}")),
        ("3.14159", ("3.14159",)),
        ("1.25", ("1.25", r"\frac{5}{4}", r"\dfrac{5}{4}", "5/4")),
        ("C", ("C", r"\text{C}", "(C)", r"\text{(C)}")),
        (r"\text{(C)}", (r"\text{(C)}", "C", r"\text{C}", "(C)")),
        ("(c)", ("(c)", r"\text{(c)}")),
        ("e", ("e",)),
        ("x^2 + 1", ("x^2 + 1",)),
        ("  ", ()),
    ],
)
def test_spellings_of(answer: str, expected: tuple[str, ...]) -> None:
    assert spellings(answer) == expected


numbers = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.fractions(max_denominator=2000).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6).map(str),
    st.builds(lambda f: rf"\frac{{{f.numerator}}}{{{f.denominator}}}", st.fractions()),
)
letters = st.sampled_from(["A", "I", "E", "(B)", "(d)", r"\text{F}", r"\text{(c)}", r"\textbf{(G)}", "e", "i", "x"])


@given(st.one_of(numbers, letters, st.text(max_size=20)))
def test_spellings_are_few_distinct_deterministic_and_graded_correct(answer: str) -> None:
    found = spellings(answer)
    assert found == spellings(answer)
    assert len(found) <= MAX_SPELLINGS
    assert len(set(found)) == len(found)
    assert all(found)
    for spelling in found:
        boxed = find_answer(GradeItem("{" + spelling + "}", (), boxed_prefix=True))
        if boxed is not None and boxed.text == spelling.strip():
            assert quick_grade(boxed, found[:1]) == Grade(Verdict.CORRECT)


async def test_the_grader_accepts_every_spelling() -> None:
    golds = ["27.0", "-1/3", r"\frac{5}{4}", "1000", "I", "(c)", "e", "i", "x^2+1", str(Fraction(7, 9))]
    items = [GradeItem(f"{{{text}}}", (gold,), boxed_prefix=True) for gold in golds for text in spellings(gold)]
    grader = MathGrader(num_workers=1)
    try:
        assert {grade.verdict for grade in await grader.grade(items)} == {Verdict.CORRECT}
    finally:
        await grader.close()
