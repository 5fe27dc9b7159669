r"""Plain numbers and choice letters, compared exactly and without a computer algebra system.

Most answers in RL are integers, fractions or letters; deciding those here keeps them away from the workers. What this
module cannot decide it leaves open (`None`); it never guesses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from mrt_reward.graders.answers import clean

_DIGITS = r"[0-9]{1,40}"
_DECIMAL = re.compile(rf"(?P<sign>[+-]?)(?P<whole>[0-9]{{1,3}}(?:(?:,|\{{,\}})[0-9]{{3}}){{1,12}}|{_DIGITS})?"
                      rf"(?P<point>\.(?P<part>[0-9]{{0,40}}))?(?:[eE](?P<power>[+-]?[0-9]{{1,3}}))?")  # fmt: skip
_FRACTION = re.compile(
    rf"(?P<sign>[+-]?)\s?(?:\\[dt]?frac\s?(?:\{{(?P<top>[+-]?{_DIGITS})\}}\s?\{{(?P<bottom>{_DIGITS})\}}"
    rf"|(?P<top_digit>[0-9])\s?(?P<bottom_digit>[0-9]))|(?P<over>{_DIGITS})\s?/\s?(?P<under>{_DIGITS}))"
)

_COMMAND = r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|mbox)"
_TEXT = re.compile(rf"{_COMMAND}\s?\{{(?P<inner>[^{{}}]*)\}}")
_GOLD_LETTER = re.compile(r"(?P<bare>[A-Z])|\((?P<wrapped>[A-Za-z])\)")
_LETTER = re.compile(r"(?:\((?P<wrapped>[A-Za-z])\)|(?P<bare>[A-Za-z])(?=$|[.):]))[.):]?(?P<rest>(?:\s.*)?)", re.DOTALL)
_ANOTHER_LETTER = re.compile(r"\(\s*[A-Za-z]\s*\)|\b[A-Z][.):]|^\s*(?:or|and|,|/)?\s*[A-Z]\s*$")
_STATED = re.compile(
    r"\banswer\b(?:\s+(?:is|would be|should be))?\s*:?\s*[*$]{0,3}(?:\\text\{)?"
    r"(?:(?:option|choice)\s+)?(?:\((?P<wrapped>[A-Za-z])\)|(?P<bare>[A-Z]))(?=$|[\s.,:;*$})])",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Number:
    """A rational number as it was written.

    Attributes:
        exact: False for decimals, which may stand for a rounded value.

    """

    value: Fraction
    exact: bool


def parse_number(text: str) -> Number | None:
    r"""Integer, decimal, `a/b` or `\frac{a}{b}` of at most 40 digits a part; None for anything else."""
    text = clean(text).replace("\N{MINUS SIGN}", "-")
    if match := _FRACTION.fullmatch(text):
        top = match["top"] or match["top_digit"] or match["over"]
        bottom = int(match["bottom"] or match["bottom_digit"] or match["under"])
        if bottom == 0:
            return None
        value = Fraction(int(top), bottom)
        return Number(-value if match["sign"] == "-" else value, exact=True)
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match["whole"] or match["part"]):
        return None
    whole = (match["whole"] or "0").replace("{,}", "").replace(",", "")
    part = match["part"] or ""
    power = int(match["power"] or 0)
    value = Fraction(int(whole + part), 10 ** len(part)) * Fraction(10) ** power
    return Number(-value if match["sign"] == "-" else value, exact=not part and power >= 0)


def numbers_agree(answer: str, gold: str) -> bool | None:
    """Whether both are the same number; None when that is not for this module to say.

    Unequal numbers are only told apart when both are exact: 0.333333 may well be meant as 1/3.
    """
    left, right = parse_number(answer), parse_number(gold)
    if left is None or right is None:
        return None
    if left.value == right.value:
        return True
    return False if left.exact and right.exact else None


def _plain(text: str) -> str:
    text = clean(text)
    match = _TEXT.fullmatch(text)
    return clean(match["inner"]) if match else text


def choice_letter(gold: str) -> str | None:
    r"""The letter of a gold that is a choice: `C`, `(C)`, `(c)`, `\text{C}`; None for others.

    A bare lower-case letter is a symbol (`e`, `i`, `x`), not a choice.
    """
    match = _GOLD_LETTER.fullmatch(_plain(gold))
    return None if match is None else (match["bare"] or match["wrapped"])


def choices_agree(answer: str, gold: str) -> bool | None:
    r"""Whether an answer names the gold's choice; None when the gold is no choice letter.

    `I` is named by `I`, `(I)`, `(i)`, `\text{I}` and `I. Something`, and not by a bare `i`, a symbol of its own. An
    answer that names several letters names none.
    """
    letter = choice_letter(gold)
    if letter is None:
        return None
    plain = _TEXT.sub(lambda match: match["inner"], _plain(answer)).strip()
    match = _LETTER.fullmatch(plain)
    if match is None or _ANOTHER_LETTER.search(match["rest"]):
        return False
    if match["wrapped"]:
        return match["wrapped"].upper() == letter.upper()
    return match["bare"] == letter


def stated_choice(text: str) -> str | None:
    """The letter that free text last states as its answer ("the answer is (B)"), or that is the whole text."""
    if _LETTER.fullmatch(_plain(text)) and len(text) <= 200:
        return text
    stated = [match["wrapped"] or match["bare"] for match in _STATED.finditer(text)]
    return f"({stated[-1]})" if stated else None
