r"""Plain numbers, compared without a computer algebra system.

Most answers in RL are integers, fractions or decimals; deciding those here keeps them away from the workers. What this
module cannot decide it leaves open (`None`); it never guesses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mrt_reward.graders.answers import clean

MIN_DIGITS = 6
"""A decimal of this many significant digits may stand for the value it comes from; a shorter one is exact."""

_DIGITS = r"[0-9]{1,40}"
_DECIMAL = re.compile(rf"(?P<sign>[+-]? ?)(?P<whole>[0-9]{{1,3}}(?:(?:,|\{{,\}})[0-9]{{3}}){{1,12}}|{_DIGITS})?"
                      rf"(?P<point>\.(?P<part>[0-9]{{0,40}}))?")  # fmt: skip
_FRACTION = re.compile(
    rf"(?P<sign>[+-]?)\s?(?:(?P<whole>{_DIGITS})?\\[dtc]?frac\s?"
    rf"(?:\{{(?P<top>[+-]?{_DIGITS})\}}\s?\{{(?P<bottom>{_DIGITS})\}}"
    rf"|(?P<top_digit>[0-9])\s?(?P<bottom_digit>[0-9]))|(?P<over>{_DIGITS})\s?/\s?(?P<under>{_DIGITS}))"
)
_POWER = re.compile(
    rf"(?P<sign>[+-]?) ?(?:(?P<mantissa>{_DIGITS}(?:\.[0-9]{{0,40}})?|\.{_DIGITS})"
    r"(?: ?\\(?:cdot|times) ?10 ?\^ ?(?:\{ ?(?P<braced>[+-]?[0-9]{1,3}) ?\}|(?P<digit>[0-9]))"
    r"|[eE](?P<e>[+-]?[0-9]{1,3}))"
    r"|10 ?\^ ?(?:\{ ?(?P<bare_braced>[+-]?[0-9]{1,3}) ?\}|(?P<bare_digit>[0-9])))"
)
_WRITTEN_DECIMAL = re.compile(r"(?<![0-9.])[0-9]{0,40}\.[0-9]{1,40}")
_BASED = re.compile(r"\(?(?P<digits>[0-9A-F]{1,40})\)? ?_ ?\{? ?(?P<base>[0-9]{1,2}) ?\}?")


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number as it was written.

    Attributes:
        value: exactly what was written.
        digits: significant digits of a decimal, which may stand for a rounded value; None for integers and fractions.

    """

    value: Fraction
    digits: int | None = None

    @property
    def exact(self) -> bool:
        """Whether it is no decimal."""
        return self.digits is None


def parse_number(text: str) -> Number | None:
    r"""Integer, decimal, `a/b`, `\frac{a}{b}`, `1\frac{a}{b}`, `1e-5` or `1.2 \cdot 10^{-5}`; None for anything else.

    No part has more than 40 digits, and no exponent more than 3.
    """
    text = clean(text).replace("\N{MINUS SIGN}", "-")
    if match := _FRACTION.fullmatch(text):
        return _fraction(match)
    if match := _POWER.fullmatch(text):
        exponent = match["braced"] or match["digit"] or match["e"] or match["bare_braced"] or match["bare_digit"]
        mantissa = parse_number(match["mantissa"] or "1")
        if mantissa is None:
            return None
        value = mantissa.value * Fraction(10) ** int(exponent)
        return Number(-value if match["sign"] == "-" else value, mantissa.digits)
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match["whole"] or match["part"]):
        return None
    whole = (match["whole"] or "0").replace("{,}", "").replace(",", "")
    part = match["part"] or ""
    value = Fraction(int(whole + part), 10 ** len(part))
    digits = len((whole + part).lstrip("0")) if part else None
    return Number(-value if match["sign"].strip() == "-" else value, digits)


def _fraction(match: re.Match[str]) -> Number | None:
    top = int(match["top"] or match["top_digit"] or match["over"])
    bottom = int(match["bottom"] or match["bottom_digit"] or match["under"])
    if bottom == 0 or (match["whole"] and top < 0):
        return None
    value = int(match["whole"] or 0) + Fraction(top, bottom)
    return Number(-value if match["sign"] == "-" else value)


def numbers_agree(answer: str, gold: str) -> bool | None:
    r"""Whether both are the same number; None when that is not for this module to say.

    A percentage is its number and a hundredth of it: `28\%` is 28 and 0.28, but not 2800.
    """
    (left, left_percent), (right, right_percent) = _percentage(answer), _percentage(gold)
    if left is None or right is None:
        return None
    if left_percent == right_percent:
        return same_number(left, right)
    hundredth = Fraction(1, 100)
    if left_percent:
        return same_number(left, right) or same_number(Number(left.value * hundredth, left.digits), right)
    return same_number(left, right) or same_number(left, Number(right.value * hundredth, right.digits))


def _percentage(text: str) -> tuple[Number | None, bool]:
    number = text.removesuffix("%").removesuffix("\\")
    return parse_number(number), text.endswith("%")


def same_number(left: Number, right: Number) -> bool:
    """Whether two numbers are equal, or one is a decimal of the other to within one unit of its last digit.

    Only a decimal of `MIN_DIGITS` significant digits or more stands for another value; the shorter of two sets the
    unit. So 0.333333 is 1/3, and 0.33, 1.0000001 and 1.0000002 are each only themselves.
    """
    if left.value == right.value:
        return True
    digits = min((number.digits for number in (left, right) if number.digits is not None), default=0)
    return digits >= MIN_DIGITS and near(left.value, right.value, digits)


def near(left: Fraction, right: Fraction, digits: int) -> bool:
    """Whether two numbers differ by less than one unit of that many significant digits."""
    least = min(abs(left), abs(right))
    return least > 0 and abs(left - right) < Fraction(10) ** (_exponent(least) + 1 - digits)


def _exponent(value: Fraction) -> int:
    """The largest integer n with 10ⁿ ≤ value."""
    exponent = len(str(value.numerator)) - len(str(value.denominator))
    return exponent if Fraction(10) ** exponent <= value else exponent - 1


def fewest_digits(*texts: str) -> int | None:
    """Significant digits of the shortest decimal in the texts that may stand for another value, if any does."""
    counts = (len(match[0].replace(".", "").lstrip("0")) for text in texts for match in _WRITTEN_DECIMAL.finditer(text))
    return min((count for count in counts if count >= MIN_DIGITS), default=None)


def bases_agree(answer: str, gold: str) -> bool | None:
    """Whether two numerals that both name their base, such as `52_8`, are the same numeral; None for others."""
    left, right = _BASED.fullmatch(answer), _BASED.fullmatch(gold)
    if left is None or right is None:
        return None
    return (left["digits"].lstrip("0"), int(left["base"])) == (right["digits"].lstrip("0"), int(right["base"]))
