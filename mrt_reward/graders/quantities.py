r"""Numbers with a unit, a currency or words behind them: `10 m/s`, `\$18.90`, `5 \text{ apples}`, `5 million`.

Graders compare the number. A unit that only one side gives is not held against it; two different units are.
"""

from __future__ import annotations

import re

_CANONICAL = {
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres kms",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "lb": "pound pounds lbs",
    "oz": "ounce ounces",
    "ml": "milliliter milliliters mL",
    "L": "liter liters litre litres l",
    "gal": "gallon gallons",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "yr": "year years yrs",
    "J": "joule joules",
    "kJ": "",
    "N": "newton newtons",
    "W": "watt watts",
    "kW": "",
    "V": "volt volts",
    "A": "amp amps ampere amperes",
    "Pa": "pascal pascals",
    "Hz": "hertz",
    "K": "kelvin kelvins",
    "mol": "moles mole",
    "cent": "cents",
    "USD": "dollar dollars usd",
    "EUR": "euro euros",
}
_UNITS = {name: unit for unit, others in _CANONICAL.items() for name in (unit, *others.split())}
_SHORT = {"mph": "mi/h", "kmh": "km/h", "kph": "km/h"}
_CURRENCIES = {"$": "USD", "\N{EURO SIGN}": "EUR", "\N{POUND SIGN}": "GBP", "\N{YEN SIGN}": "JPY"}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NOT_UNITS = frozenset(
    (
        *("and", "or", "not", "nor", "to", "through", "than", "plus", "minus", "times", "over", "mod", "if", "when"),
        *("where", "for", "is", "are", "with", "pi", "sqrt", "sin", "cos", "tan", "cot", "csc", "log", "exp", "choose"),
        *("percent", "pct", "percentage", "all", "real", "each", "dozen", "half", "quarter", "third"),
    )
)

_NUMBER = (
    r"[+-]? ?(?:[0-9][0-9,]{0,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})"
    r"(?: ?\\(?:cdot|times) ?10 ?\^ ?(?:\{-?[0-9]{1,3}\}|[0-9]))?"
    r"(?: ?/ ?[0-9]{1,40})?"
)
_FRACTION = r"[+-]? ?(?:[0-9]{1,40} ?)?\\[dt]?frac ?(?:\{-?[0-9]{1,40}\} ?\{[0-9]{1,40}\}|[0-9] ?[0-9])"
_QUANTITY = re.compile(
    rf"(?P<currency>\\?[{''.join(_CURRENCIES)}])? ?(?P<number>{_NUMBER}|{_FRACTION})(?P<unit>[^0-9][^\n]{{0,80}})?"
)
_WRAPPED = re.compile(r"\\(?:text|mathrm|mathit|operatorname|rm) ?\{(?P<inner>[^{}]*)\}")
_FRACTION_UNIT = re.compile(r"\\[dt]?frac ?\{(?P<top>[^{}]*)\} ?\{(?P<bottom>[^{}]*)\}")
_COMPOUND = re.compile(
    r"(?P<name>[A-Za-z]{1,12})(?: ?\^ ?\{? ?(?P<power>-?[1-9]) ?\}?)?(?P<joint> ?/ ?| ?\\cdot ?| ?\* ?| per |-| |$)"
)
_SPACING = re.compile(r"\\(?:[,;: ]|quad(?![A-Za-z]))|~")
_DEGREES = re.compile(r"\^ ?(?:\{ ?\\circ ?\}|\\circ) ?(?P<scale>[CF])?|\\degree ?(?P<other>[CF])?")
_WORDS = re.compile(r"(?:[A-Za-z]{3,20}|of|an|in|m|a(?= [A-Za-z]{2}))(?: (?:[A-Za-z]{2,20}|a)){0,6}")


def bare_number(text: str) -> str | None:
    r"""The number of a quantity, in LaTeX; None when the text is not one number with a unit, currency or words.

    `5 million` is `5 \cdot 10^{6}`. Percentages are numbers of their own kind, and stay.
    """
    found = split_quantity(text)
    return None if found is None else found[0]


def units_differ(left: str, right: str) -> bool:
    """Whether both name a known unit, and not the same one."""
    one, other = split_quantity(left), split_quantity(right)
    return one is not None and other is not None and bool(one[1] and other[1]) and one[1] != other[1]


def split_quantity(text: str) -> tuple[str, str] | None:
    """Number and canonical unit of a quantity; the unit is empty where it is not a known one. None for other texts."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    number, unit = match["number"].strip(), _plain_unit(match["unit"] or "")
    currency = _currency(match["currency"] or unit)
    if not unit:
        return (number, currency) if match["currency"] else None
    if currency and not match["currency"]:
        return number, currency
    scale, _, rest = unit.partition(" ")
    if scale.lower() in _SCALES:
        if rest and _WORDS.fullmatch(rest) is None:
            return None
        return (
            (rf"{number} \cdot 10^{{{_SCALES[scale.lower()]}}}", _canonical(rest) or currency)
            if "10^" not in number
            else None
        )
    if degrees := _DEGREES.fullmatch(unit):
        return number, degrees["scale"] or degrees["other"] or ""
    if len(unit) == 1 and (
        (match["unit"] or "").startswith(unit) or ("frac" in number and match["unit"] == f" {unit}")
    ):
        return None  # `5m` and `\frac12 h` may be products
    known = _canonical(unit)
    if known is not None:
        return number, known
    words = unit.lower().split()
    return (number, "") if _WORDS.fullmatch(unit) and not _NOT_UNITS & set(words) else None


def _currency(sign: str) -> str:
    name = _CURRENCIES.get(sign.strip().removeprefix("\\"))
    return "" if name is None else f"{name}^1"


def _plain_unit(unit: str) -> str:
    r"""A unit without wrapping: `\frac{\text{m}}{\text{s}}` is `m/s`."""
    unit = _WRAPPED.sub(lambda match: match["inner"], _SPACING.sub(" ", unit))
    unit = _FRACTION_UNIT.sub(lambda match: f"{match['top']}/{match['bottom']}", unit)
    return " ".join(unit.replace("{", " ").replace("}", " ").split()) if "^" not in unit else " ".join(unit.split())


def _canonical(unit: str) -> str | None:
    """A compound of known units, such as `m s^-2` for `meters per second squared` or `m/s^2`; None for other texts."""
    unit = re.sub(r" (?:squared|cubed)(?![a-z])", lambda match: "^2" if match[0] == " squared" else "^3", unit)
    unit = re.sub(r"(?:square|sq\.?|cubic|cu\.?) ([A-Za-z]{1,12})", lambda match: match[1] + ("^2" if match[0].startswith("s") else "^3"), unit)  # fmt: skip # noqa: E501
    unit = _SHORT.get(unit, unit)
    parts: list[str] = []
    sign, start = 1, 0
    while start < len(unit):
        match = _COMPOUND.match(unit, start)
        if match is None or match["name"] not in _UNITS or match.end() == start:
            return None
        parts.append(f"{_UNITS[match['name']]}^{sign * int(match['power'] or 1)}")
        sign = -1 if match["joint"].strip() in ("/", "per") else sign
        start = match.end()
    return " ".join(sorted(parts))
