r"""The ways in which models write a number, alone or with a percent sign, degrees, a currency or a unit.

`0.5` → `\frac{1}{2}`, `1/2` …     `3\frac12` → `\frac{7}{2}`, `3.5` …     `10\text{ cm}` → `10`, `10 \text{ cm}` …
"""

from __future__ import annotations

import re
from fractions import Fraction

from mrt_reward.graders.numbers import parse_number
from mrt_reward.graders.writing import writings

_MAX_DENOMINATOR = 1000
_MAX_DECIMALS = 6
_MIN_POWER = 5
_LARGE = 10**9
_MAX_MANTISSA_DIGITS = 3

_NUMBER = r"[+\-\N{MINUS SIGN}]?[0-9.][0-9.,{}\\ ]{0,60}?"
_PERCENT = re.compile(rf"(?P<number>{_NUMBER})\s?(?:\\?%|percent|\\text\s?\{{\s?percent\s?\}})")
_DEGREES = re.compile(
    rf"(?P<number>{_NUMBER})\s?(?:\^\s?\\circ|\^\s?\{{\s?\\circ\s?\}}|°|degrees?|\\text\s?\{{\s?degrees?\s?\}})"
)
_CURRENCY = re.compile(
    rf"\\?\$\s?(?P<before>{_NUMBER})|(?P<after>{_NUMBER})\s?(?:dollars|\\text\s?\{{\s?dollars\s?\}})"
)
_UNIT = re.compile(
    r"(?P<number>[^\s$:]|[^\s$:][^$:]{0,60}?[^\s\\~$:])\s?(?:\\[,; ]|~)?\s?"
    r"(?:\\(?:text|mathrm|textrm|mbox)\s?\{\s?~?(?P<unit>[A-Za-z][A-Za-z/. ]{0,30}?)\s?\}"
    r"(?:\^\s?\{?\s?(?P<power>[23])\s?\}?)?"
    r"|(?<=[0-9}] )(?P<plain>[A-Za-z]{2,20}(?: [A-Za-z]{2,20})?|[a-z]{1,4}/[a-z]{1,4}))"
)
_NO_UNITS = frozenset(["and", "or", "to", "mod", "is", "of", "for", "if", "with", "in terms"])
_GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:(?:\\[,; ]|,\s?\\!\s?|~| )[0-9]{3}){1,12}(?:\.[0-9]{1,20})?")
_MIXED = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]{1,12})\s?(?:\\[dt]?frac\s?(?:\{\s?(?P<top>[0-9]{1,12})\s?\}\s?\{\s?"
    r"(?P<bottom>[0-9]{1,12})\s?\}|(?P<digit>[0-9])\s?(?P<below>[0-9]))|(?<=\s)(?P<over>[0-9]{1,12})/(?P<under>[0-9]{1,12}))"
)


def number_writings(text: str) -> tuple[str, ...]:
    """Ways of writing a plain number, the most usual first; none where the text is no number."""
    if mixed := _MIXED.fullmatch(text):
        return _mixed(text, mixed)
    number = parse_number(re.sub(r"[^0-9.+-]", "", text) if _GROUPED.fullmatch(text) else text)
    if number is None:
        return ()
    value = number.value
    if value.denominator == 1:
        own = [*_scientific(value), text] if "10" in text and "^" in text else []
        return tuple(dict.fromkeys([*own, *_integers(value), text]))
    is_fraction = "/" in text or "frac" in text
    ratios = _ratios(value) if is_fraction or value.denominator <= _MAX_DENOMINATOR else []
    decimals = _decimals(value)
    if is_fraction:
        found = [*ratios[:2], text, *ratios[2:3], *decimals, *ratios[3:]]
    else:
        digits = re.fullmatch(r"(-?)0?((?:[1-9][0-9,]*)?\.[0-9]+)", text)
        as_given = [] if digits is None else [digits[1] + ("0" if digits[2][0] == "." else "") + digits[2]]
        found = [*as_given, *decimals[:1], *_scientific(value), *ratios[:3], *decimals[1:], *ratios[3:]]
    return tuple(dict.fromkeys([*found, text]))


def measured_writings(text: str) -> tuple[str, ...]:
    """Ways of writing a number with a percent sign, degrees, a currency or a unit; none where the text is none."""
    if match := _PERCENT.fullmatch(text):
        return _with(match["number"], text, [r"{}\%", "{}%", "{}", r"{} \%", r"{}\text{{ percent}}"])
    if match := _DEGREES.fullmatch(text):
        forms = [r"{}^\circ", "{}", r"{}^{{\circ}}", "{}°", r"{} \text{{ degrees}}", r"{}\text{{ degrees}}"]
        return _with(match["number"], text, forms)
    if match := _CURRENCY.fullmatch(text):
        forms = [r"\${}", "{}", r"{} \text{{ dollars}}", r"{}\text{{ dollars}}"]
        return _with(match["before"] or match["after"], text, forms)
    match = _UNIT.fullmatch(text)
    unit = match and (match["unit"] or match["plain"])
    if match is None or unit is None or unit.lower() in _NO_UNITS:
        return ()
    power = f"^{match['power']}" if match["power"] else ""
    name = unit.strip()
    forms = ["{}", rf"{{}} \text{{{{ {name}}}}}{power}", rf"{{}}\text{{{{ {name}}}}}{power}"]
    forms += [rf"{{}} \, \text{{{{{name}}}}}{power}", rf"{{}}\,\text{{{{{name}}}}}{power}"]
    forms += [f"{{}} {name}"] if number_writings(match["number"]) and not power else []
    return _with(match["number"], text, forms)


def _with(number: str, text: str, forms: list[str]) -> tuple[str, ...]:
    """Ways of writing something around a number: all of them around its first writing, two of them around others."""
    number = number.strip()
    numbers = number_writings(number)
    if not numbers:
        if forms[0] != "{}" or re.search(r"\\text|[A-Za-z]{3}", re.sub(r"\\[A-Za-z]+", "", number)):
            return ()
        numbers = writings(number)
    plain, is_ratio = numbers[0], "frac" in numbers[0]
    others = [number, *(way for way in numbers[1:2] if ("frac" in way) is is_ratio)]
    first = [form.format(plain) for form in forms]
    others = [form.format(way) for form in forms[:2] for way in dict.fromkeys(others) if way != plain]
    return tuple(dict.fromkeys([*first[:2], *others, text, *first[2:]]))


def _integers(value: Fraction) -> list[str]:
    plain = str(value.numerator)
    if abs(value) < 1000:
        return [plain]
    grouped = f"{value.numerator:,}"
    groupings = [grouped, grouped.replace(",", "{,}"), grouped.replace(",", r"\,")]
    scientific = _scientific(value)
    return [plain, *scientific, *groupings] if abs(value) >= _LARGE else [plain, *groupings, *scientific]


def _ratios(value: Fraction) -> list[str]:
    sign = "-" if value < 0 else ""
    top, bottom = abs(value.numerator), value.denominator
    found = [rf"{sign}\frac{{{top}}}{{{bottom}}}", rf"{sign}\dfrac{{{top}}}{{{bottom}}}", f"{sign}{top}/{bottom}"]
    found += [rf"\frac{{-{top}}}{{{bottom}}}"] if sign else []
    return [*found, rf"{sign}\frac{top}{bottom}"] if max(top, bottom) < 10 else found


def _decimals(value: Fraction) -> list[str]:
    """A terminating decimal of few places, with its group separators or without its leading zero; none for others."""
    scaled = abs(value) * 10**_MAX_DECIMALS
    if scaled.denominator != 1:
        return []
    digits = f"{scaled.numerator:0{_MAX_DECIMALS + 1}d}"
    whole, part = digits[:-_MAX_DECIMALS], digits[-_MAX_DECIMALS:].rstrip("0")
    sign = "-" if value < 0 else ""
    found = [f"{sign}{whole}.{part}"]
    if whole == "0":
        return [*found, f"{sign}.{part}"]
    grouped = f"{int(whole):,}.{part}"
    return [*found, sign + grouped, sign + grouped.replace(",", "{,}")] if "," in grouped else found


def _scientific(value: Fraction) -> list[str]:
    r"""As `1.2 \times 10^{-5}`, where that is short and the number is long."""
    sign, size = "-" if value < 0 else "", abs(value)
    power = 0
    while size >= 10:
        size, power = size / 10, power + 1
    while 0 < size < 1:
        size, power = size * 10, power - 1
    scaled = size * 10 ** (_MAX_MANTISSA_DIGITS - 1)
    if abs(power) < _MIN_POWER or scaled.denominator != 1:
        return []
    mantissa = str(scaled.numerator).rstrip("0")
    mantissa = mantissa if len(mantissa) == 1 else f"{mantissa[0]}.{mantissa[1:]}"
    ten = f"10^{power}" if 0 < power < 10 else f"10^{{{power}}}"
    return [f"{sign}{ten}" if mantissa == "1" else rf"{sign}{mantissa} \times {ten}"]


def _mixed(text: str, match: re.Match[str]) -> tuple[str, ...]:
    top, bottom = (
        (match["top"] or match["digit"] or match["over"]),
        (match["bottom"] or match["below"] or match["under"]),
    )
    if int(bottom) == 0:
        return ()
    sign, whole = match["sign"].replace("+", ""), match["whole"]
    value = (int(whole) + Fraction(int(top), int(bottom))) * (-1 if sign else 1)
    mixed = [rf"{sign}{whole}\frac{{{top}}}{{{bottom}}}", rf"{sign}{whole}\dfrac{{{top}}}{{{bottom}}}"]
    ratios = _ratios(value)
    spaced = rf"{sign}{whole} \frac{{{top}}}{{{bottom}}}"
    found = [mixed[0], ratios[0], *_decimals(value)[:1], ratios[2], mixed[1], ratios[1], text, spaced]
    return tuple(dict.fromkeys(found))
