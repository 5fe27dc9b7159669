r"""The spellings of a gold answer that the likelihood estimator sums over.

All are what goes between the braces of `\boxed{…}`; each is judged correct by `MathGrader` against the answer.
"""

from __future__ import annotations

import re
from fractions import Fraction

from mrt_reward.graders.answers import clean
from mrt_reward.graders.choices import choice_letter
from mrt_reward.graders.numbers import parse_number

MAX_SPELLINGS = 8
_MAX_DENOMINATOR = 1000
_MAX_PLACES = 6
_ZERO_TAIL = re.compile(r"0*$")


def spellings(answer: str) -> tuple[str, ...]:
    r"""At most 8 distinct accepted spellings, best first; the first is the answer without `$…$` or `\boxed{…}`.

    Integers come with and without thousands separators, decimals with their fraction, fractions with their terminating
    decimal, choice letters with and without `\text{}` and parentheses, and anything else as it is. Nobody writes 42 as
    `42.0`, so that is listed only where the answer itself does. A blank answer has no spelling.
    """
    bare = clean(answer)
    if not bare:
        return ()
    letter = choice_letter(bare)
    number = parse_number(bare)
    if letter is not None:
        others = _choices(letter, bare)
    elif number is not None:
        others = _integers(number.value) if number.value.denominator == 1 else _fractions(number.value)
    else:
        others = []
    return tuple(dict.fromkeys([bare, *others]))[:MAX_SPELLINGS]


def _choices(letter: str, bare: str) -> list[str]:
    wrapped = [rf"\text{{{letter}}}", f"({letter})", rf"\text{{({letter})}}"]
    # A bare lower-case letter is a symbol, so it does not spell the choice `(c)`.
    return [letter, *wrapped] if letter.isupper() else [text for text in wrapped if "(" in text or text == bare]


def _integers(value: Fraction) -> list[str]:
    plain = str(value.numerator)
    return [plain] if abs(value) < 1000 else [plain, f"{value.numerator:,}"]


def _fractions(value: Fraction) -> list[str]:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    decimal = _decimal(abs(value))
    found: list[str] = []
    if bottom <= _MAX_DENOMINATOR:
        found += [rf"{sign}\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{top}}}{{{bottom}}}", f"{sign}{top}/{bottom}"]
    if decimal is not None:
        found.append(sign + decimal)
        if decimal.startswith("0."):
            found.append(sign + decimal[1:])
    if sign and bottom <= _MAX_DENOMINATOR:
        found.append(rf"\frac{{-{top}}}{{{bottom}}}")
    return found


def _decimal(value: Fraction) -> str | None:
    """A positive value as a terminating decimal of few places; None when it has none."""
    scaled = value * 10**_MAX_PLACES
    if scaled.denominator != 1:
        return None
    digits = f"{scaled.numerator:0{_MAX_PLACES + 1}d}"
    return f"{digits[:-_MAX_PLACES]}.{_ZERO_TAIL.sub('', digits[-_MAX_PLACES:])}"
