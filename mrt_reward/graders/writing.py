r"""The ways in which models write one and the same expression in LaTeX.

    `\dfrac{\sqrt2}2` → `\frac{\sqrt{2}}{2}`, `\dfrac{\sqrt{2}}{2}`    `(3,4)` → `(3, 4)`, `\left(3, 4\right)`

Only spacing, braces, names of one symbol and the size of brackets and fractions change, so that every way is the same
expression. What is no plain LaTeX (words, other scripts) has no other way.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"\\(?:text|mathrm|operatorname)\s?\{[^{}]*\}|\\(?:begin|end)\s?\{[a-z]{1,12}\*?\}(?:\{[lcr|]{1,12}\})?|\\sqrt\s?\[[^\[\]{}]*\]"
    r"|\\[A-Za-z]+|\\.|\{,\}|[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9])|[0-9]*\.?[0-9]+|[A-Za-z]+|\s+|.",
    re.DOTALL,
)
_SYMBOLS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\le": r"\leq", r"\ge": r"\geq",
    r"\ne": r"\neq", r"\lbrace": r"\{", r"\rbrace": r"\}",
}  # fmt: skip
_OPEN_ENDED = re.compile(r"\\(?:left|right)\s?\.")
_FACTORS = frozenset([r"\pi", r"\theta", r"\alpha", r"\beta", r"\sqrt", "{", "}", "(", ")", "^", "_"])
_DROPPED = frozenset([r"\left", r"\right", r"\displaystyle", r"\,", r"\;", r"\:", r"\!", r"\ ", "~"])
_OPERATORS = frozenset(
    ["+", "-", "=", "<", ">", "&", r"\\", r"\times", r"\cdot", r"\div", r"\pm", r"\mp", r"\leq", r"\geq", r"\neq",
     r"\cup", r"\cap", r"\in", r"\to", r"\equiv", r"\approx", r"\setminus"]
)  # fmt: skip
_SIGNS = frozenset(["+", "-", r"\pm", r"\mp"])
_OPENING = frozenset(["(", "[", r"\{"])
_CLOSING = frozenset([")", "]", r"\}"])
_BEFORE_OPERAND = _OPERATORS | _OPENING | frozenset(["{", ",", "^", "_"])
_FUNCTIONS = frozenset([r"\ln", r"\log", r"\exp", r"\sin", r"\cos", r"\tan", r"\cot", r"\sec", r"\csc"])
_PLAIN = frozenset("()[]{}|,;:!'/+-=<>^_&*")
_SHORT_WORDS = frozenset(
    ["am", "at", "by", "cm", "ft", "if", "in", "is", "kg", "km", "lb", "ml", "mm", "no", "of", "or", "oz", "pm", "to"]
)
_MAX_VARIABLES = 2

Tokens = list[str]

MAX_CHARS = 500
"""No model is likely to write a longer expression as the gold has it, however it is spaced."""


def writings(text: str) -> tuple[str, ...]:
    """Ways of writing an expression, the most usual first; only the text itself where it is no plain LaTeX."""
    tokens = _tokens(text)
    if tokens is None:
        return (text,)
    usual, *others = _spacings(tokens)
    found = [usual, text, *others]
    large = _with_large_brackets(tokens)
    if large is not None:
        wide, tight = _spacings(large)[0], _spacings(large)[-1]
        loose = re.sub(r"(\\left(?:\\\{|.))|(\\right)", lambda m: f"{m[1]} " if m[1] else f" {m[2]}", wide)
        is_tall = r"\frac" in tokens
        found = [wide, loose, *found, tight] if is_tall else [*found, wide, loose, tight]
    turned = [way for other in _fractions(tokens) for way in _spacings(other)]
    if "/" in tokens:
        found = [*turned, *found]
    framed = [way.replace(r"\frac", r"\dfrac") for way in found[:1]]
    return tuple(dict.fromkeys([*found[:2], *framed, *found[2:], *turned]))


def list_items(text: str) -> tuple[str, ...]:
    """The items of a list without brackets, `3, 5` or `3 and 5`; none where it is no list of plain LaTeX."""
    tokens = _tokens(re.sub(r"\\text\s?\{\s*(?:and|or)\s*\}|(?<=\s)(?:and|or)(?=\s)", ",", text))
    if tokens is None or "," not in tokens:
        return ()
    found: list[Tokens] = [[]]
    depth = 0
    for part in tokens:
        depth += (part in _OPENING or part == "{") - (part in _CLOSING or part == "}")
        if part == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(part)
    return tuple(_spacings(item)[0] for item in found if item) if len(found) > 1 else ()


def _tokens(text: str) -> Tokens | None:
    """The parts of an expression without its white space, in one notation; None where it is no plain, short LaTeX."""
    if len(text) > MAX_CHARS:
        return None
    found: Tokens = []
    for match in _TOKEN.finditer(text):
        part = _SYMBOLS.get(match[0], match[0])
        if part.isspace() or part in _DROPPED:
            continue
        if len(part) == 1 and not part.isalnum() and part not in _PLAIN:
            return None
        if part.isalpha() and (len(part) > _MAX_VARIABLES or part in _SHORT_WORDS or not part.isascii()):
            return None
        if found and _is_number(found[-1]) and _is_number(part):
            return None  # `3 1/2` is not `31/2`.
        found.append(part)
    is_grouped = r"\left" in text and r"\begin" in text
    return None if is_grouped or _OPEN_ENDED.search(text) or not _is_balanced(found) else _braced(found)


def _is_number(part: str) -> bool:
    return part.lstrip(".")[:1].isdigit()


def _is_balanced(tokens: Tokens) -> bool:
    depth = 0
    for part in tokens:
        depth += (part == "{") - (part == "}")
        if depth < 0:
            return False
    return depth == 0


def _braced(tokens: Tokens) -> Tokens | None:
    r"""With braces around what `\frac` and `\sqrt` take, and without those around a single index or exponent."""
    found: Tokens = []
    waiting = list(reversed(tokens))
    while waiting:
        part = waiting.pop()
        found.append(part)
        if part in ("^", "_"):
            followed = waiting[-4] if len(waiting) > 3 else ""
            # `\log_{2} 3` is not `\log_23`.
            if waiting[-3:-2] == ["}"] and waiting[-1] == "{" and _is_short(waiting[-2]) and not followed.isalnum():
                waiting.pop()
                found.append(waiting.pop())
                waiting.pop()
            continue
        num_arguments = 2 if part == r"\frac" else int(part.startswith(r"\sqrt"))
        for index in range(num_arguments):
            argument = _argument(waiting, splits=num_arguments - index == 2)
            if argument is None:
                return None
            inner = _braced(argument)
            if inner is None:
                return None
            found += ["{", *inner, "}"]
    return found


def _is_short(part: str) -> bool:
    return len(part) == 1 or part == r"\circ"


def _argument(waiting: Tokens, *, splits: bool = False) -> Tokens | None:
    r"""Take the next argument off the tokens that wait, the next one last: what braces hold, or a digit or symbol.

    Only a first argument splits a number, as that of `\frac12`: nobody means the root of 1 by `\sqrt12`.
    """
    if not waiting or waiting[-1] in _OPERATORS | _OPENING | _CLOSING | {"}", ",", "^", "_"}:
        return None
    part = waiting.pop()
    if part != "{":
        if part.isalpha() or len(part) == 1 or part.startswith("\\"):
            waiting.extend([part[1:]] if part[:1].isalpha() and part[1:] else [])
            return [part[:1]] if part[:1].isalpha() else [part]
        if not splits or len(part) != 2 or not part.isdigit():
            return None
        waiting.append(part[1])
        return [part[0]]
    inner: Tokens = []
    depth = 1
    while waiting:
        part = waiting.pop()
        depth += (part == "{") - (part == "}")
        if depth == 0:
            return inner
        inner.append(part)
    return None


def _spacings(tokens: Tokens) -> tuple[str, ...]:
    """Spaced as in print, and without any space that need not be."""
    return tuple(dict.fromkeys((_joined(tokens, spaced=True), _joined(tokens, spaced=False))))


def _joined(tokens: Tokens, *, spaced: bool) -> str:
    text, before = "", ""
    script = 0  # braces of an exponent or index that are open
    for part in tokens:
        if part == "{" and (script or before in ("^", "_")):
            script += 1
        elif part == "}" and script:
            script -= 1
        wide = spaced and not script
        is_sign = part in _SIGNS and (
            not before or before in _BEFORE_OPERAND or before.startswith((r"\left", r"\begin"))
        )
        is_binary = part in _OPERATORS and not is_sign
        if wide and text and not text.endswith(" ") and (is_binary or part.startswith(r"\end")):
            text += " "
        elif before[:1] == "\\" and before[-1:].isalpha() and part[:1].isalpha() and not text.endswith(" "):
            text += " "  # `\pi r` is not `\pir`.
        elif wide and before in _FUNCTIONS and part not in _OPENING | {"^", "_", "{"}:
            text += " "
        text += part
        if wide and (is_binary or part in {",", r"\pm", r"\mp"} or part.startswith(r"\begin")):
            text += " "
        before = part
    return text.strip()


def _with_large_brackets(tokens: Tokens) -> Tokens | None:
    r"""With `\left` and `\right` at the outermost brackets that hold a comma; None where there are none."""
    opened: list[int] = []
    commas: list[bool] = []
    large = list(tokens)
    for index, part in enumerate(tokens):
        if part in _OPENING:
            opened.append(index)
            commas.append(False)
        elif part in _CLOSING:
            if not opened:
                return None
            start, has_comma = opened.pop(), commas.pop()
            if not opened and has_comma:
                large[start], large[index] = rf"\left{tokens[start]}", rf"\right{part}"
        elif part == "," and commas:
            commas[-1] = True
    return large if large != tokens and not opened else None


def _fractions(tokens: Tokens) -> list[Tokens]:
    r"""`a/b` as `\frac{a}{b}`, and `\frac{a}{b}` as `a/b`, where each is a product and b a single factor."""
    sign, rest = (tokens[:1], tokens[1:]) if tokens[:1] == ["-"] else ([], tokens)
    if rest.count("/") == 1:
        index = rest.index("/")
        top, bottom = rest[:index], rest[index + 1 :]
        if _is_product(top) and _is_product(bottom) and _is_factor(bottom):
            return [[*sign, r"\frac", "{", *_unbracketed(top), "}", "{", *bottom, "}"]]
        return []
    if rest[:1] != [r"\frac"]:
        return []
    waiting = list(reversed(rest[1:]))
    top, bottom = _argument(waiting), _argument(waiting)
    if waiting or top is None or bottom is None or not (_is_product(top) and _is_product(bottom)):
        return []
    turned = [[r"\frac", "{", "-", *top, "}", "{", *bottom, "}"]] if sign else []
    return [*turned, [*sign, *top, "/", *bottom]] if _is_factor(bottom) else turned


def _is_product(tokens: Tokens) -> bool:
    """Whether factors stand side by side, with sums and signs in brackets only."""
    depth = 0
    for part in tokens:
        depth += (part == "(") - (part == ")")
        if not (
            part.isalnum()
            or _is_number(part)
            or part in _FACTORS
            or part.startswith(r"\sqrt")
            or (depth and part in "+-")
        ):
            return False
    return bool(tokens) and depth == 0


def _unbracketed(tokens: Tokens) -> Tokens:
    return tokens[1:-1] if tokens[:1] == ["("] and tokens.index(")") == len(tokens) - 1 else tokens


def _is_factor(tokens: Tokens) -> bool:
    return len(tokens) == 1 or (tokens[0].startswith(r"\sqrt") and "}" not in tokens[1:-1])
