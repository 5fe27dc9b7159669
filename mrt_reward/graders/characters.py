r"""Unicode as LaTeX: `x²` is `x^{2}`, `3½` is `3\frac{1}{2}`, `√12` is `\sqrt{12}`, and nothing is invisible."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SAME = {
    "-": "\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}\N{EN DASH}\N{EM DASH}\N{HORIZONTAL BAR}\N{MINUS SIGN}"
         "\N{SMALL HYPHEN-MINUS}\N{HEAVY MINUS SIGN}",
    r"\cdot ": "\N{MULTIPLICATION SIGN}\N{MIDDLE DOT}\N{DOT OPERATOR}\N{BULLET OPERATOR}\N{BULLET}"
               "\N{ASTERISK OPERATOR}\N{MULTIPLICATION X}\N{N-ARY TIMES OPERATOR}",
    "/": "\N{DIVISION SIGN}\N{DIVISION SLASH}\N{FRACTION SLASH}",
    '"': "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}",
    "'": "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{PRIME}",
    "...": "\N{HORIZONTAL ELLIPSIS}\N{MIDLINE HORIZONTAL ELLIPSIS}",
    ".": "\N{IDEOGRAPHIC FULL STOP}",
    ",": "\N{IDEOGRAPHIC COMMA}",
    ":": "\N{RATIO}",
    r"\infty ": "\N{INFINITY}",
    r"\pi ": "\N{GREEK SMALL LETTER PI}",
    r"\pm ": "\N{PLUS-MINUS SIGN}",
    r"\le ": "\N{LESS-THAN OR EQUAL TO}\N{LESS-THAN OR SLANTED EQUAL TO}",
    r"\ge ": "\N{GREATER-THAN OR EQUAL TO}\N{GREATER-THAN OR SLANTED EQUAL TO}",
    r"\ne ": "\N{NOT EQUAL TO}",
    r"\approx ": "\N{ALMOST EQUAL TO}\N{APPROXIMATELY EQUAL TO}\N{ASYMPTOTICALLY EQUAL TO}",
    r"\cup ": "\N{UNION}",
    r"\cap ": "\N{INTERSECTION}",
    r"\in ": "\N{ELEMENT OF}",
    r"\setminus ": "\N{SET MINUS}",
    r"\emptyset ": "\N{EMPTY SET}\N{LATIN CAPITAL LETTER O WITH STROKE}",
    r"^\circ ": "\N{DEGREE SIGN}\N{MASCULINE ORDINAL INDICATOR}",
    r"\Rightarrow ": "\N{RIGHTWARDS DOUBLE ARROW}",
    r"\therefore ": "\N{THEREFORE}",
    r"\angle ": "\N{ANGLE}",
    r"\langle ": "\N{LEFT-POINTING ANGLE BRACKET}\N{MATHEMATICAL LEFT ANGLE BRACKET}",
    r"\rangle ": "\N{RIGHT-POINTING ANGLE BRACKET}\N{MATHEMATICAL RIGHT ANGLE BRACKET}",
    r"\mathbb{R}": "\N{DOUBLE-STRUCK CAPITAL R}",
    r"\mathbb{Z}": "\N{DOUBLE-STRUCK CAPITAL Z}",
    r"\mathbb{N}": "\N{DOUBLE-STRUCK CAPITAL N}",
    r"\mathbb{Q}": "\N{DOUBLE-STRUCK CAPITAL Q}",
    r"\mathbb{C}": "\N{DOUBLE-STRUCK CAPITAL C}",
}  # fmt: skip
_LATEX = {character: latex for latex, characters in _SAME.items() for character in characters}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙₖ", "0123456789+-=()nk", strict=True))
_RAISED_RUN = re.compile(f"[{''.join(_RAISED)}]{{1,40}}")
_LOWERED_RUN = re.compile(f"[{''.join(_LOWERED)}]{{1,40}}")
_ROOTS = {"\N{SQUARE ROOT}": r"\sqrt", "\N{CUBE ROOT}": r"\sqrt[3]", "\N{FOURTH ROOT}": r"\sqrt[4]"}
_ROOT = re.compile(
    rf"(?P<root>[{''.join(_ROOTS)}]) ?(?:\((?P<round>[^()]{{1,200}})\)|(?P<digits>[0-9]{{1,40}}(?:\.[0-9]{{1,40}})?)"
    r"|(?P<letter>[A-Za-z]))?"
)
_OVERLINED = re.compile("(?:[0-9][\N{COMBINING OVERLINE}\N{COMBINING MACRON}]){1,20}")
_COMPATIBLE = ("<wide>", "<narrow>", "<font>")


def in_latex(text: str) -> str:
    """The text with its Unicode mathematics as LaTeX, and white space collapsed to single spaces."""
    if not text.isascii():
        text = "".join(map(_character, text))
        text = _OVERLINED.sub(lambda match: rf"\overline{{{match[0][::2]}}}", text)
        text = _RAISED_RUN.sub(lambda match: f"^{{{''.join(_RAISED[c] for c in match[0])}}}", text)
        text = _LOWERED_RUN.sub(lambda match: f"_{{{''.join(_LOWERED[c] for c in match[0])}}}", text)
        text = _ROOT.sub(_root, text)
    return " ".join(text.split())


@lru_cache(maxsize=4096)
def _character(character: str) -> str:
    if character.isascii() or character in _RAISED or character in _LOWERED:
        return character
    if character in _LATEX:
        return _LATEX[character]
    category, decomposition = unicodedata.category(character), unicodedata.decomposition(character)
    if category == "Cf":  # zero-width spaces and joiners, direction marks, byte order marks
        return ""
    if category == "Zs":
        return " "
    if decomposition.startswith("<fraction>"):
        top, _, bottom = unicodedata.normalize("NFKC", character).partition("\N{FRACTION SLASH}")
        return rf"\frac{{{top}}}{{{bottom}}}"
    return unicodedata.normalize("NFKC", character) if decomposition.startswith(_COMPATIBLE) else character


def _root(match: re.Match[str]) -> str:
    inside = match["round"] or match["digits"] or match["letter"]
    return _ROOTS[match["root"]] + (f"{{{inside}}}" if inside else " ")
