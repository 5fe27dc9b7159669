r"""Whether an answer only copies an arithmetic expression of the problem, `17 + 26 - 5` instead of 38.

A grader that evaluates expressions would pay for it, and a policy would learn to copy the problem. An expression is
two or more numerals joined by `+ − · × / ^`. Two are the same when they are up to white space, grouping and the order
of the operands of `+` and `·`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_letters

from mrt_reward.graders.characters import in_latex

_SHORT_FRACTION = re.compile(r"\\[dtc]?frac ?(?:(?P<top>[0-9]) ?(?=[0-9{]))?")
_TOKEN = re.compile(
    r"(?P<numeral>[0-9]+(?:,[0-9]{3}(?![0-9]))*(?:\.[0-9]+)?|\.[0-9]+)"
    r"|(?P<times>\\(?:cdot|times|ast)(?![A-Za-z])|\*(?!\*)|(?<=[0-9 ])x(?=[0-9 ]))"
    r"|(?P<over>/|\\div(?![A-Za-z])|\} ?\{)|(?P<power>\^|\*\*)|(?P<sign>[+-])"
    r"|(?P<group>[({\[])|[ )}\]$]|\\(?:left|right|displaystyle|quad)(?![A-Za-z])|\\[bB]igg?[lr]?(?![A-Za-z])"
    r"|\\[,;:! ()\[\]{}]|(?P<other>\\[A-Za-z]+|.)"
)
_TEXT = re.compile(r"\\(?:text|mathrm) ?\{[^{}]*\}")
_OPERATORS = {"times": "*", "over": "/", "power": "^"}
_MIN_GROUPED = 3


@dataclass(frozen=True, slots=True)
class _Run:
    """Numerals and operators that follow each other, grouping left out; `grouped` where there was any."""

    tokens: tuple[str, ...]
    grouped: bool

    @property
    def numerals(self) -> list[str]:
        return [token for token in self.tokens if token[0].isdigit()]

    @property
    def forms(self) -> frozenset[str]:
        """What two runs share when they are the same expression.

        Operands that are groups themselves may be swapped as well: `4(2+3)` and `(3+2)4` share numerals and operators.
        """
        forms = {_sum(self.tokens)}
        if self.grouped and len(self.numerals) >= _MIN_GROUPED:
            forms.add(" ".join(sorted(self.tokens)))
        return frozenset(forms)


def restates(answer: str, problem: str, golds: Sequence[str]) -> bool:
    """Whether an answer is an arithmetic expression of the problem that no gold is.

    Of an equation each side is looked at: `x = 17+26-5` restates, `17+26-5 = 38` does not.
    """
    if not problem:
        return False
    sides = _sides(answer)
    if not sides or any(len(run.numerals) < 2 for run in sides):
        return False
    given, accepted = _expressions(problem), [run.forms for gold in golds for run in _sides(gold)]
    return all(run.forms & given and not any(run.forms & forms for forms in accepted) for run in sides)


def _sides(text: str) -> list[_Run]:
    """The sides of an equation, or the whole of another text, that are runs; without a unit behind them."""
    text = _TEXT.sub(" ", in_latex(text)).rstrip(ascii_letters + " .")
    return [run for side in text.split("=") if (run := _whole(side)) is not None]


def _whole(text: str) -> _Run | None:
    """A text that is one run and nothing else."""
    runs, foreign = _runs(text)
    return runs[0] if len(runs) == 1 and not foreign else None


@lru_cache(maxsize=256)
def _expressions(problem: str) -> frozenset[str]:
    runs, _ = _runs(in_latex(problem))
    return frozenset(form for run in runs if len(run.numerals) > 1 for form in run.forms)


def _runs(text: str) -> tuple[list[_Run], bool]:
    """The runs of a text, and whether anything stands between or around them."""
    runs, tokens, grouped, foreign = list[_Run](), list[str](), False, False
    for kind, token in _tokens(text):
        adjacent = kind == "numeral" and bool(tokens) and tokens[-1][0].isdigit()
        if adjacent or kind == "other":
            runs += _closed(tokens, grouped=grouped)
            tokens, grouped, foreign = [], False, foreign or kind == "other"
        if kind == "group":
            grouped = True
        elif kind == "numeral" or (kind == "operator" and (tokens or token in ("+", "-"))):
            tokens.append(token)
    return [*runs, *_closed(tokens, grouped=grouped)], foreign


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    # `\frac{1}{2}` is `{1}{2}`, of which `}{` is read as a division.
    text = _SHORT_FRACTION.sub(lambda short: f"{short['top']}/" if short["top"] else "", text)
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "numeral":
            whole, point, part = match[0].replace(",", "").partition(".")
            part = part.rstrip("0")
            yield "numeral", (whole.lstrip("0") or "0") + (point + part if part else "")
        elif kind in ("times", "over", "power", "sign"):
            yield "operator", _OPERATORS.get(kind, match[0])
        elif kind is not None:
            yield kind, match[0]


def _closed(tokens: list[str], *, grouped: bool) -> list[_Run]:
    end = next((index for index in range(len(tokens), 0, -1) if tokens[index - 1][0].isdigit()), 0)
    return [_Run(tuple(tokens[:end]), grouped)] if end else []


def _sum(tokens: Sequence[str]) -> str:
    """A run with its terms, and their factors, in alphabetical order; `a-b` has the terms `+a` and `-b`."""
    terms, sign, term = list[str](), "+", list[str]()
    for token in (*tokens, "+"):
        if token not in ("+", "-"):
            term.append(token)
            continue
        # After `*`, `/` and `^` a sign belongs to the operand.
        if term and not term[-1][0].isdigit():
            term.append(token)
            continue
        if term:
            terms.append(sign + _product(term))
            sign, term = token, []
        else:
            sign = "-" if sign != token else "+"
    return "".join(sorted(terms))


def _product(term: Sequence[str]) -> str:
    factors, operator, factor = list[str](), "*", ""
    for token in (*term, "*"):
        if token in ("*", "/"):
            factors.append(operator + factor)
            operator, factor = token, ""
        else:
            factor += token
    return "".join(sorted(factors))
