from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.numbers import (
    Number,
    choice_letter,
    choices_agree,
    numbers_agree,
    parse_number,
    stated_choice,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value", "exact"),
    [
        ("42", Fraction(42), True), ("+42", Fraction(42), True), ("-42.", Fraction(-42), True),
        ("007", Fraction(7), True), ("1,234,567", Fraction(1234567), True), ("1{,}234", Fraction(1234), True),
        ("0.50", Fraction(1, 2), False), (".5", Fraction(1, 2), False), ("-.5", Fraction(-1, 2), False),
        (r"\frac{1}{2}", Fraction(1, 2), True), (r"-\dfrac{3}{6}", Fraction(-1, 2), True),
        (r"\frac{-1}{2}", Fraction(-1, 2), True), (r"\tfrac12", Fraction(1, 2), True), ("3 / 4", Fraction(3, 4), True),
        ("1e16", Fraction(10**16), True), ("1E+3", Fraction(1000), True), ("-1.5e3", Fraction(-1500), False),
        ("1e-05", Fraction(1, 100000), False), ("1.2e-5", Fraction(12, 1000000), False),
        ("$5$", Fraction(5), True), ("\N{MINUS SIGN}5", Fraction(-5), True),
    ],
)  # fmt: skip
def test_plain_numbers_are_read_exactly(text: str, value: Fraction, exact: bool) -> None:
    assert parse_number(text) == Number(value, exact)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "1,23",
        "1 234",
        "1/0",
        "x",
        "1e",
        "1e1000",
        "50%",
        "1" * 41,
        "²",
        "٣",
        "1_000",
        r"\frac{1}{x}",
        "--1",
    ],
)
def test_anything_else_is_no_plain_number(text: str) -> None:
    assert parse_number(text) is None


def test_only_exact_numbers_are_told_apart() -> None:
    assert numbers_agree("1/2", "0.5") is True
    assert numbers_agree("1", "2") is False
    assert numbers_agree("0.333333", "1/3") is None
    assert numbers_agree("x", "1") is None


@given(st.fractions())
def test_a_fraction_equals_itself_however_it_is_written(value: Fraction) -> None:
    sign, top = ("-" if value < 0 else ""), abs(value.numerator)
    assert numbers_agree(rf"{sign}\frac{{{top}}}{{{value.denominator}}}", str(value)) is True


@pytest.mark.parametrize(
    ("gold", "letter"),
    [("I", "I"), (r"\text{I}", "I"), ("(I)", "I"), (r"\text{(C)}", "C"), ("(c)", "c"), (r"$\textbf{(D)}$", "D"),
     ("e", None), ("i", None), (r"\text{e}", None), ("AB", None), ("A.", None), ("7", None)],
)  # fmt: skip
def test_a_bare_lower_case_letter_is_a_symbol_and_no_choice(gold: str, letter: str | None) -> None:
    assert choice_letter(gold) == letter


@pytest.mark.parametrize(
    "answer",
    ["I", "(I)", r"\text{I}", "(i)", "I.", "I)", "I. Something", "(I) 42", r"\textbf{I}: done", r"\text{I. A matrix}",
     r"\textbf{(I)} $\frac{1}{2}$", "$I$"],
)  # fmt: skip
def test_a_choice_may_be_named_in_several_ways(answer: str) -> None:
    assert choices_agree(answer, "I") is True


@pytest.mark.parametrize(
    "answer", ["i", "J", "(J) I", "I, J", "I or J", "(I) or (J)", "I. J", "I. x J. y", "IJ", "I = 5", "1", "", "Iris"]
)
def test_other_letters_symbols_and_several_letters_name_no_choice(answer: str) -> None:
    assert choices_agree(answer, "I") is False


def test_symbols_are_left_to_mathematics() -> None:
    assert choices_agree("e", "e") is None
    assert choices_agree("(E)", "e") is None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (A). No, the answer is (B).", "(B)"), ("Answer: C", "(C)"), ("B", "B"), ("(b)", "(b)"),
        (r"answer is \text{D}.", "(D)"), ("The answer is option (E)", "(E)"), ("I do not know", None),
        ("answer 5", None),
    ],
)  # fmt: skip
def test_free_text_states_its_choice(text: str, letter: str | None) -> None:
    assert stated_choice(text) == letter
