r"""The spellings of a gold answer that the likelihood estimator sums over.

    gold → what it means (`read_gold`) → ways of writing it → those that the grader does not refuse → at most 8

All are what goes between the braces of `\boxed{…}`; each is judged correct by `MathGrader` against the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mrt_reward.graders.answers import Answer
from mrt_reward.graders.characters import in_latex
from mrt_reward.graders.choices import choice_letter, names_several
from mrt_reward.graders.golds import read_gold
from mrt_reward.graders.math import quick_grade
from mrt_reward.graders.numerals import measured_writings, number_writings
from mrt_reward.graders.writing import list_items, writings
from mrt_reward.types import Verdict

MAX_SPELLINGS = 8

_EQUATION = re.compile(r"(?P<left>[A-Za-z](?:_\{?[A-Za-z0-9]\}?)?(?:\([a-z]\))?)\s?=\s?(?P<right>[^=<>,]+)")
_SET = re.compile(r"\\(?:left\s?\\)?(?:\{|lbrace)(?P<inner>.*)\\(?:right\s?\\)?(?:\}|rbrace)")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s?\{\s?(?P<inner>[^{}\\]*?)\s?\}")
_WORDS = re.compile(r"(?=.*[^\W\d_]{3}|[Nn]o$)[^\W\d_][^\W\d_ ,;.'\u2019-]*(?:[ ,;.'\u2019-]+[^\W\d_]+)*")
_DATE = re.compile(
    r"(?:\\text\s?\{\s?)?(?P<inner>[A-Z][a-z]{2,9}\.? [0-9]{1,4}(?:, [0-9]{4})?|[0-9]{1,2} [A-Z][a-z]{2,9})\s?\}?"
)
_HALF_DAY = re.compile(
    r"(?:\\text\s?\{\s?)?(?P<clock>[0-9]{1,2}:[0-9]{2})\s?(?:\\text\s?\{\s?|\\,)?(?P<half>[AaPp]\.?[Mm]\.?)\s?\}?"
)
_MEASURED = re.compile(r"\\(?:text|mbox)\s?\{\s?(?P<inner>[0-9][^{}]*)\}")
_EMPTY = (r"\emptyset", r"\varnothing", r"\{\}")
_SHORT_ROOT = re.compile(r"\\sqrt\{([0-9])\}(?![0-9])")
_RATIO = re.compile(r"[0-9]{1,12}(?::[0-9]{1,12}){1,8}")
_EITHER_CASE = frozenset(["Yes", "No", "True", "False", "Even", "Odd", "None", "Undefined"])
_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "frac", "pi", "theta", "lim"]
)


def spellings(answer: str) -> tuple[str, ...]:
    r"""At most 8 distinct accepted spellings of a gold answer, what models write most first.

    Numbers come as integers, decimals, fractions and mixed numbers, with and without group separators, percent sign,
    degrees, currency or unit; choice letters and words with and without `\text{}`; equations with and without what is
    asked for; lists, tuples, sets, intervals and expressions in the usual spacings, and in their own. A blank answer
    has no spelling.
    """
    bare = read_gold(answer)
    if not bare:
        return ()
    ways = dict.fromkeys([*_written(in_latex(bare)), bare])
    accepted = [way for way in ways if _is_accepted(way, bare)]
    return tuple(accepted[:MAX_SPELLINGS]) or (bare,)


def _is_accepted(way: str, gold: str) -> bool:
    """Whether the grader may accept it; what only a worker could decide is the same by the way it is made."""
    grade = quick_grade(Answer(way, boxed=True), (gold,))
    return way == way.strip() and (grade is None or grade.verdict is Verdict.CORRECT)


def _written(gold: str) -> Iterable[str]:
    letter = choice_letter(gold)
    if letter is not None:
        return _choices(letter, gold)
    if gold.isalpha() and names_several(gold):
        return [gold, rf"\text{{{gold}}}", ", ".join(gold), ",".join(gold)]
    if words := _words(gold) or _dated(gold):
        return words
    if (measured := _MEASURED.fullmatch(gold)) and (ways := measured_writings(measured["inner"])):
        return [*ways, gold]
    if ways := number_writings(gold) or measured_writings(gold):
        return ways
    if equation := _EQUATION.fullmatch(gold):
        return _equations(equation["left"], list(_written(equation["right"].strip())), gold)
    if (braced := _SET.fullmatch(gold)) and (members := list_items(braced["inner"])):
        joined = ", ".join(members)
        ways = writings(gold)
        return [ways[0], joined, *ways[1:3], ",".join(members), *ways[3:]]
    if members := list_items(gold):
        return _lists(members, gold)
    return dict.fromkeys(way for each in (gold, *_twins(gold)) for way in writings(each))


def _twins(gold: str) -> Iterable[str]:
    r"""Other names and shapes of the whole: `\varnothing` for `\emptyset`, `3 : 4` for `3:4`, `\sqrt3`."""
    if gold in _EMPTY:
        return _EMPTY
    if _RATIO.fullmatch(gold):
        return (gold.replace(":", " : "),)
    short = _SHORT_ROOT.sub(r"\\sqrt\1", gold)
    return (short,) if short != gold else ()


def _choices(letter: str, bare: str) -> list[str]:
    wrapped = [rf"\text{{{letter}}}", f"({letter})", rf"\text{{({letter})}}"]
    if letter.islower():
        # A bare lower-case letter is a symbol, so it does not spell the choice `(c)`.
        return [text for text in wrapped if "(" in text or text == bare]
    bold = [rf"\textbf{{{letter}}}", rf"\textbf{{({letter})}}", rf"\mathrm{{{letter}}}"]
    return [letter, wrapped[0], *bold[:1], *wrapped[1:], *bold[1:], bare]


def _words(gold: str) -> list[str]:
    """Words in text mode and out of it, in both cases of their first letter; none where the gold is no words."""
    text = _TEXT.fullmatch(gold)
    words = text["inner"] if text else gold
    if not _WORDS.fullmatch(words) or (text is None and set(words.split()) & _FUNCTIONS):
        return []
    cases = [words]
    if words.islower() or words in _EITHER_CASE:
        cases.append(words[0].swapcase() + words[1:])
    modes = [way for case in cases for way in (rf"\text{{{case}}}", case)]
    return [*modes, rf"\textbf{{{words}}}", *([] if " " in words else [rf"\mathrm{{{words}}}"]), gold]


def _dated(gold: str) -> list[str]:
    """A date or a time of day in text mode and out of it; none where the gold is none."""
    if date := _DATE.fullmatch(gold):
        return [rf"\text{{{date['inner']}}}", date["inner"], gold]
    if time := _HALF_DAY.fullmatch(gold):
        clock, half = time["clock"], time["half"]
        ways = [rf"{clock} \text{{ {half}}}", rf"{clock}\text{{ {half}}}", f"{clock} {half}"]
        return [*ways, rf"\text{{{clock} {half}}}", gold]
    return []


def _equations(left: str, right: list[str], gold: str) -> list[str]:
    """What is asked for alone, and with its name; a formula is an equation first, and a number is itself first."""
    if re.search(r"(?<![\\A-Za-z])[A-Za-z](?![A-Za-z])", right[0]):
        return [*writings(gold), *right]
    others = [f"{left} = {way}" for way in right[1:2] if "frac" in way]
    return [right[0], f"{left} = {right[0]}", f"{left}={right[0]}", *right[1:2], *others, gold, *right[2:]]


def _lists(members: tuple[str, ...], gold: str) -> list[str]:
    ways = list(writings(", ".join(members)))
    if len(members) == 2:
        ways += [rf"{members[0]} \text{{ and }} {members[1]}", rf"{members[0]}\text{{ and }}{members[1]}"]
        ways += [", ".join(reversed(members))]
    return [*ways[:5], gold, *([] if "=" in gold else [rf"\{{{ways[0]}\}}"])]
