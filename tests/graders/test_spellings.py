from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.answers import find_answer
from mrt_reward.graders.math import MathGrader, quick_grade
from mrt_reward.graders.spellings import MAX_SPELLINGS, spellings
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict
from tests.graders.golds import GOLDS


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("42", ("42",)),
        ("$42$", ("42",)),
        ("#### 42", ("42",)),
        ("27.0", ("27", "27.0")),
        ("1000", ("1000", "1,000", "1{,}000", r"1\,000")),
        ("-12,345", ("-12345", "-12,345", "-12{,}345", r"-12\,345")),
        (r"1\,000", ("1000", "1,000", "1{,}000", r"1\,000")),
        ("073", ("73", "073")),
        ("1e16", ("10000000000000000", "10^{16}", "10,000,000,000,000,000")),
        (r"\boxed{\frac{1}{2}}", (r"\frac{1}{2}", r"\dfrac{1}{2}", "1/2", "0.5", ".5")),
        ("0.5", ("0.5", r"\frac{1}{2}", r"\dfrac{1}{2}", "1/2", ".5")),
        ("-1/3", (r"-\frac{1}{3}", r"-\dfrac{1}{3}", "-1/3", r"\frac{-1}{3}")),
        ("1/1001", (r"\frac{1}{1001}", r"\dfrac{1}{1001}", "1/1001")),
        ("3.14159", ("3.14159",)),
        ("1.25", ("1.25", r"\frac{5}{4}", r"\dfrac{5}{4}", "5/4")),
        ("0.00001", ("0.00001", "10^{-5}", ".00001")),
        (r"3\frac12", (r"3\frac{1}{2}", r"\frac{7}{2}", "3.5", "7/2")),
        (r"50\%", (r"50\%", "50%", "50")),
        ("90°", (r"90^\circ", "90", r"90^{\circ}", "90°")),
        (r"\$18.90", (r"\$18.90", "18.90", r"\$18.9", "18.9")),
        (r"10\text{ cm}", ("10", r"10 \text{ cm}", r"10\text{ cm}")),
        ("x=5", ("5", "x = 5", "x=5")),
        ("y=2x+3", ("y = 2x + 3", "y=2x+3", "2x + 3", "2x+3")),
        ("C", ("C", r"\text{C}", r"\textbf{C}", "(C)", r"\text{(C)}", r"\textbf{(C)}", r"\mathrm{C}")),
        (r"\text{(C)}", ("C", r"\text{C}", r"\textbf{C}", "(C)", r"\text{(C)}")),
        ("(c)", ("(c)", r"\text{(c)}")),
        ("e", ("e",)),
        (r"\mathbb{R}", (r"\mathbb{R}",)),
        (r"\text{Evelyn}", (r"\text{Evelyn}", "Evelyn", r"\textbf{Evelyn}", r"\mathrm{Evelyn}")),
        ("yes", (r"\text{yes}", "yes", r"\text{Yes}", "Yes")),
        ("(3,4)", ("(3, 4)", "(3,4)", r"\left(3, 4\right)", r"\left( 3, 4 \right)")),
        (r"\left(3,\frac{\pi}{2}\right)", (r"\left(3, \frac{\pi}{2}\right)", r"\left( 3, \frac{\pi}{2} \right)")),
        ("3,5", ("3, 5", "3,5", r"3 \text{ and } 5")),
        (r"\{3,5\}", (r"\{3, 5\}", "3, 5", r"\{3,5\}")),
        ("[0,1)", ("[0, 1)", "[0,1)")),
        ("x^2 + 1", ("x^2 + 1", "x^2+1")),
        (r"\dfrac{\sqrt2}{2}", (r"\frac{\sqrt{2}}{2}", r"\dfrac{\sqrt2}{2}", r"\dfrac{\sqrt{2}}{2}", r"\sqrt{2}/2")),
        (r"\text{10 cm}", ("10", r"10 \text{ cm}", "10 cm")),
        ("July 4", (r"\text{July 4}", "July 4")),
        (r"\text{July 4}", (r"\text{July 4}", "July 4")),
        ("2:30 PM", (r"2:30 \text{ PM}", r"2:30\text{ PM}", "2:30 PM")),
        (r"\varnothing", (r"\varnothing", r"\emptyset")),
        ("3:4", ("3:4", "3 : 4")),
        ("AC", ("AC", r"\text{AC}", "A, C")),
        (r"2\sqrt{3}", (r"2\sqrt{3}", r"2\sqrt3")),
        ("  ", ()),
    ],
)
def test_what_models_write_most_is_spelt_first(answer: str, expected: tuple[str, ...]) -> None:
    assert spellings(answer)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("answer", "other"),
    [
        ("5", "x=5"),  # an unknown that the gold does not name
        ("3,500", "3, 500"),
        ("(3,500)", "(3, 500)"),  # it may well be three thousand five hundred
        ("1101_2", "1101"),
        (r"\log_{2} 3", r"\log_23"),
        (r"\sqrt 12", r"\sqrt{1}2"),
        ("3 1/2", "31/2"),
        (r"\frac{\sin x}{2}", r"\sin x/2"),
        ("C", "c"),
        ("Evelyn", "evelyn"),
        ("ABCD", "aBCD"),
        ("2:30 PM", "2:30"),
    ],
)
def test_what_means_something_else_is_no_spelling(answer: str, other: str) -> None:
    assert other not in spellings(answer)


numbers = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.fractions(max_denominator=2000).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6).map(str),
    st.builds(lambda f: rf"\frac{{{f.numerator}}}{{{f.denominator}}}", st.fractions()),
)
letters = st.sampled_from(["A", "I", "E", "(B)", "(d)", r"\text{F}", r"\text{(c)}", r"\textbf{(G)}", "e", "i", "x"])
LATEX = [
    "\\frac",
    "\\sqrt",
    "\\left(",
    "\\right)",
    "\\{",
    "\\}",
    "\\pi",
    "\\text{",
    "\\ ",
    "\\!",
    "$",
    "°",
    "cm",
    "and",
]
pieces = st.lists(st.sampled_from([*"0123459xyn+-=,.()[]{}^_ /%", *LATEX]), max_size=12).map("".join)


@given(st.one_of(numbers, letters, pieces, st.text(max_size=20)))
def test_spellings_are_few_distinct_deterministic_and_never_graded_wrong(answer: str) -> None:
    found = spellings(answer)
    assert found == spellings(answer)
    assert len(found) <= MAX_SPELLINGS
    assert len(set(found)) == len(found)
    assert all(found)
    for spelling in found:
        boxed = find_answer(GradeItem("{" + spelling + "}", (), boxed_prefix=True))
        if boxed is not None and boxed.text == spelling.strip():
            grade = quick_grade(boxed, (answer,))
            assert grade is None or grade.verdict is Verdict.CORRECT or len(found) == 1


@given(st.one_of(numbers, letters))
def test_numbers_and_letters_are_graded_right_without_a_worker(answer: str) -> None:
    found = spellings(answer)
    assert found
    for spelling in found:
        boxed = find_answer(GradeItem("{" + spelling + "}", (), boxed_prefix=True))
        grade = quick_grade(boxed, found[:1])
        assert grade is not None
        assert grade.verdict is Verdict.CORRECT


async def test_the_grader_accepts_every_spelling_of_every_kind_of_gold() -> None:
    asked = [(gold, spelling) for gold in GOLDS for spelling in spellings(gold)]
    grader = MathGrader(num_workers=2, timeout_s=10.0)
    try:
        grades = await grader.grade(
            [GradeItem(f"{{{spelling}}}", (gold,), boxed_prefix=True) for gold, spelling in asked]
        )
    finally:
        await grader.close()
    refused = [one for one, grade in zip(asked, grades, strict=True) if grade.verdict is not Verdict.CORRECT]
    assert refused == []
    assert len(GOLDS) >= 300
    assert len(asked) > 3 * len(GOLDS)
