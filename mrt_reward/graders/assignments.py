r"""Named values: `x=3, y=4` and `(x,y)=(3,4)`, compared by name; math-verify compares them by size.

Against a tuple without names, names count in the order of the alphabet where they are single letters, as in `(x, y)`.
"""

from __future__ import annotations

import re

_AND = re.compile(r"\\text ?\{ ?,? ?(?:and|,|;) ?\}|(?<![A-Za-z\\])and(?![A-Za-z])|\\(?:quad|land|wedge)(?![A-Za-z])")
_OR = re.compile(r"\\text ?\{ ?,? ?or ?\}|(?<![A-Za-z\\])or(?![A-Za-z])")
_FLAT_SET = re.compile(r"\\(?:left|right)?\\?[{}](?=.)|\\[{}]")
_NAME = re.compile(r"\\?[A-Za-z]{1,12}(?: ?_ ?(?:[A-Za-z0-9]|\{[A-Za-z0-9]{1,8}\}))?")
_SIZED = re.compile(r"\\(?:left|right)(?=[()\[\]])")
_OPEN, _CLOSE = "([{", ")]}"


def value_pairs(answer: str, gold: str) -> list[tuple[str, str]] | None:
    """The values that must be equal, as pairs of answer and gold; None where this is not a matter of names.

    An empty list is for names or lengths that differ, which no values can mend.
    """
    answers, golds = _named(answer), _named(gold)
    if answers is not None and golds is not None:
        return [(answers[name], golds[name]) for name in golds] if answers.keys() == golds.keys() else None
    if golds is not None:
        return _paired(_tuple(answer) or split(_flat(answer), ","), _in_order(golds))
    if answers is not None and (values := _tuple(gold)):
        return _paired(_in_order(answers), values)
    return _ratio_pairs(split(answer, ":"), split(gold, ":"))


def num_elements(text: str) -> int:
    """How many elements a list or set has; 1 for everything else, tuples included."""
    text = _FLAT_SET.sub("", text)
    return len(split(_flat(_OR.sub(",", text)), ","))


def _ratio_pairs(answers: list[str], golds: list[str]) -> list[tuple[str, str]] | None:
    """The ratios to the first part of `1:2:3`, which math-verify reads as 1/2/3; None for less than three parts."""
    if max(len(answers), len(golds)) < 3 or not all((*answers, *golds)):
        return None
    if len(answers) != len(golds):
        return []
    sides = ([rf"\frac{{{part}}}{{{parts[0]}}}" for part in parts[1:]] for parts in (answers, golds))
    return list(zip(*sides, strict=True))


def _paired(answers: list[str], golds: list[str]) -> list[tuple[str, str]] | None:
    if len(answers) == 1:
        return None  # one expression, whatever it is, is math-verify's
    return list(zip(answers, golds, strict=True)) if len(answers) == len(golds) else []


def _in_order(named: dict[str, str]) -> list[str]:
    names = sorted(named) if all(len(name) == 1 for name in named) else named
    return [named[name] for name in names]


def _named(text: str) -> dict[str, str] | None:
    """Values by name, two or more; None for other texts."""
    text = _flat(text)
    sides = split(text, "=")
    if len(sides) == 2 and (names := _tuple(sides[0])):
        values = _tuple(sides[1])
        pairs = list(zip(names, values, strict=True)) if values and len(names) == len(values) else []
    else:
        parts = [split(part, "=") for part in split(text, ",")]
        pairs = [(part[0], part[1]) for part in parts if len(part) == 2]
        pairs = pairs if len(pairs) == len(parts) else []
    named = dict(pairs)
    if len(named) < 2 or len(named) != len(pairs) or not all(map(_NAME.fullmatch, named)):
        return None
    return named


def _flat(text: str) -> str:
    text = _SIZED.sub("", text).strip()
    return _AND.sub(",", text).replace(";", ",").replace(",,", ",").replace(", ,", ",")


def _tuple(text: str) -> list[str] | None:
    """The elements of a text that is one tuple in parentheses; None for other texts."""
    text = _SIZED.sub("", text).strip()
    if not (text.startswith("(") and text.endswith(")")) or len(split(text, ",")) > 1:
        return None
    elements = split(text[1:-1], ",")
    return elements if len(elements) > 1 else None


def split(text: str, separator: str) -> list[str]:
    """Parts of a text between separators outside of brackets, stripped; a blank one means that the text is no list."""
    parts, depth, start = list[str](), 0, 0
    for index, character in enumerate(text):
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:index].strip())
            start = index + 1
    return [*parts, text[start:].strip()]
