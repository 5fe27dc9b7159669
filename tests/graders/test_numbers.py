from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.numbers import Number, bases_agree, fewest_digits, numbers_agree, parse_number


@pytest.mark.parametrize(
    ("text", "value", "digits"),
    [
        ("42", Fraction(42), None), ("+42", Fraction(42), None), ("-42.", Fraction(-42), None),
        ("007", Fraction(7), None), ("1,234,567", Fraction(1234567), None), ("1{,}234", Fraction(1234), None),
        ("0.50", Fraction(1, 2), 2), (".5", Fraction(1, 2), 1), ("-.5", Fraction(-1, 2), 1),
        (r"\frac{1}{2}", Fraction(1, 2), None), (r"-\dfrac{3}{6}", Fraction(-1, 2), None),
        (r"\frac{-1}{2}", Fraction(-1, 2), None), (r"\tfrac12", Fraction(1, 2), None),
        ("3 / 4", Fraction(3, 4), None), ("$5$", Fraction(5), None), ("\N{MINUS SIGN}5", Fraction(-5), None),
        (r"-3\frac{1}{2}", Fraction(-7, 2), None), ("1e-05", Fraction(1, 100_000), None),
        ("1e+16", Fraction(10**16), None),
        (r"1.20 \cdot 10^{-2}", Fraction(3, 250), 3), (r"-10^3", Fraction(-1000), None),
        ("0.00012", Fraction(12, 100_000), 2),
    ],
)  # fmt: skip
def test_plain_numbers_are_read_exactly(text: str, value: Fraction, digits: int | None) -> None:
    assert parse_number(text) == Number(value, digits)


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1,23", "1 234", "1/0", "x", "1e9999", "50%", "1" * 41, "²", "٣", "1_000", r"\frac{1}{x}", "--1"],
)
def test_anything_else_is_no_plain_number(text: str) -> None:
    assert parse_number(text) is None


def test_only_a_decimal_of_six_digits_stands_for_another_number() -> None:
    assert numbers_agree("1/2", "0.5") is True
    assert numbers_agree("1", "2") is False
    # 1/3 lies within one unit of the sixth digit, and 100 does not lie within one of 100.001.
    assert numbers_agree("0.333333", "1/3") is True
    assert numbers_agree("0.666666", "2/3") is True
    assert numbers_agree("0.33333", "1/3") is False
    assert numbers_agree("100.001", "100") is False
    # The shorter of two decimals sets the unit.
    assert numbers_agree("0.33333349", "0.333333") is True
    assert numbers_agree("1.0000001", "1.0000002") is False
    assert numbers_agree("0.0000012", "0.0000013") is False
    assert numbers_agree("x", "1") is None


def test_a_percentage_is_its_number_or_a_hundredth_of_it() -> None:
    assert [numbers_agree(text, r"28\%") for text in ("28", "0.28", r"28\%", "2800", r"0.28\%")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_numerals_with_a_base_are_compared_as_they_are_written() -> None:
    assert bases_agree("52_8", "52_{8}") is True
    assert bases_agree("52_8", "52_9") is False
    assert bases_agree("52", "52_8") is None


def test_short_decimals_are_exact() -> None:
    assert fewest_digits("0.5", "(0.333333, 1.41421356)") == 6
    assert fewest_digits("0.5", r"1.2 \cdot 10^{-7}", "1/3") is None


@given(st.fractions())
def test_a_fraction_equals_itself_however_it_is_written(value: Fraction) -> None:
    sign, top = ("-" if value < 0 else ""), abs(value.numerator)
    assert numbers_agree(rf"{sign}\frac{{{top}}}{{{value.denominator}}}", str(value)) is True
