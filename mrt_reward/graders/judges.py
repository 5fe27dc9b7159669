"""What a worker's child runs on one item: mathematics by math-verify, or a user's own function.

Only this module touches sympy, and only in a worker. Model output is parsed by a LaTeX grammar; Python's `eval`, which
sympy's own parser uses, is sealed off, and an audit hook refuses what a parser has no business to do.
"""

from __future__ import annotations

import importlib
import logging
import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

from mrt_reward.graders.assignments import split, value_pairs
from mrt_reward.graders.equality import decimals_of, symbols_equal, values_equal
from mrt_reward.graders.frames import Payload

Judge = Callable[[Mapping[str, object]], Payload]
Loader = Callable[[], Judge]

MATH_PROBE: Payload = {"answer": r"\frac{1}{2}", "golds": ["0.5"]}
"""An item whose verdict is known: correct."""

_WARM_UP = (
    (r"\frac{1}{2}", "0.5"),
    ("x^2-1", "(x-1)(x+1)"),
    ("(1,2]", "[1,3)"),
    (r"\sqrt{8}", "x=3"),
    (r"\{1,2\}", "2,3"),
    (r"\sin(2x)+e^{x}", r"2\sin x\cos x+\log(x)"),
    ("x<1", "x>2"),
    ("(1,2)", "1<x<2"),
    ("x+y=1", "x-y=2"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\x\end{pmatrix}"),
    (r"\binom{5}{2}+3!", r"\int_0^1 x dx+\sum_{k=1}^{3}k"),
    ("2+3i", r"50\%"),
)
_NUMBER_TOKEN = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6})?")
_OR = re.compile(r"(?<![A-Za-z])or(?![A-Za-z])")
_ARITHMETIC = re.compile(r"(?:[0-9.,+\-*/^!(){} ]|\\(?:[dt]?frac|sqrt|cdot|times|div|pi|left|right)(?![A-Za-z])|\\%)+")
_DECIMALS = re.compile(r"[0-9]\.([0-9]{1,40})")
_NUMBER_I = re.compile(r"([0-9])i\b")
_RATIO_TOKEN = re.compile(r"\(?([+-]?[0-9]+)/([0-9]+)\)?")
_FORBIDDEN_EVENTS = frozenset(
    {
        "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.remove", "os.rename",
        "os.mkdir", "os.rmdir", "os.kill", "os.truncate", "subprocess.Popen", "socket.__new__", "socket.connect",
        "shutil.rmtree", "pty.spawn", "ctypes.dlopen", "webbrowser.open", "urllib.Request", "pickle.find_class",
    }
)  # fmt: skip


class Forbidden(RuntimeError):
    """A parser tried to do something that only executed text would do."""


def loader(grader: str) -> Loader:
    """How the child gets its judge. The mathematics is imported here already, once, before anything is forked."""
    if grader != "math":
        return lambda: function_judge(grader)
    prepare_math()
    return load_math


def load_math() -> Judge:
    """The mathematical judge, with everything else refused from now on in this process."""
    # Else a module that is imported late and was never compiled would write a file, be refused, and be a wrong answer.
    sys.dont_write_bytecode = True
    sys.addaudithook(refuse)
    return judge_math


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: no programs, no network, no written files, no compiled text."""
    if event in _FORBIDDEN_EVENTS:
        raise Forbidden(event)
    # Modules imported late are compiled from files; text handed to eval or exec is not.
    if event == "compile" and not str(arguments[1]).endswith(".py"):
        raise Forbidden(event)
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        raise Forbidden(event)


def prepare_math() -> None:
    """Import math-verify, fill its caches with our own text, and only then seal its ways to `eval`.

    The order matters: sympy evaluates strings of its own when some of its modules are first used.
    """
    from math_verify import grader, parser  # noqa: PLC0415 - only workers load sympy
    from sympy.parsing import sympy_parser  # noqa: PLC0415

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    for answer, gold in _WARM_UP:
        judge_math({"answer": answer, "golds": [gold]})
    # `sympy.Number(text)`, which math-verify calls on every number it meets, is `parse_expr`, which is `eval`.
    cast("Any", sympy_parser).eval_expr = sealed_eval
    cast("Any", sympy_parser).parse_expr = parse_number_token
    cast("Any", parser).parse_expr_cached = sealed_eval
    cast("Any", grader).sympy_numeric_eq = values_equal
    cast("Any", grader).sympy_compare_symbols = symbols_equal(grader.sympy_compare_symbols)


def sealed_eval(*_: object) -> object:
    """Stands where sympy would call `eval`."""
    raise Forbidden("eval")


def parse_number_token(text: str, *_: object, **__: object) -> object:
    """Stands where sympy would evaluate a string: digits and ratios are numbers, a name is a symbol."""
    import sympy  # noqa: PLC0415

    token = str(text).strip()
    if token.isidentifier():
        return sympy.Symbol(token)
    if (ratio := _RATIO_TOKEN.fullmatch(token)) and int(ratio[2]):
        return sympy.Rational(int(ratio[1]), int(ratio[2]))
    if _NUMBER_TOKEN.fullmatch(token) is None:
        raise Forbidden("parse_expr")
    # A decimal is the number that is written; whether it may stand for another one, `values_equal` decides.
    return sympy.Rational(token) if "e" not in token.lower() else sympy.Float(token)


def judge_math(payload: Mapping[str, object]) -> Payload:
    """Whether an answer equals one of the golds, as math-verify sees it.

    Args:
        payload: `answer` and `golds`, mathematics in LaTeX.

    Returns:
        `verdict`: "correct", "incorrect", or "unparsed" when the answer is nothing that it can read.

    """
    answer, golds = str(payload["answer"]), cast("list[str]", payload["golds"])
    parsed = parse_answer(answer)
    if not parsed:
        return {"verdict": "unparsed", "reason": "no answer found"}
    if _is_untrue(answer):
        return {"verdict": "incorrect", "reason": "the answer equates different numbers"}
    return {"verdict": "correct" if any(_equal(answer, parsed, gold) for gold in golds) else "incorrect"}


def _is_untrue(answer: str) -> bool:
    """Whether an answer equates numbers that differ, as in `1=2=3` for gold 3; a decimal may be rounded."""
    sides = split(answer, "=")
    if len(sides) < 2 or not all(sides):
        return False
    read = (parse_answer(side) for side in sides if _ARITHMETIC.fullmatch(side))
    parsed = [found[0] for found in read if found and getattr(found[0], "is_real", False)]
    decimals = [len(match[1]) for match in _DECIMALS.finditer(answer)]
    unit = 10.0 ** -min(decimals) if decimals else 0.0
    return any(not (values_equal(one, other) or abs(one - other) < unit) for one, other in pairwise(parsed))


def _equal(answer: str, parsed: list[Any], gold: str) -> bool:
    pairs = value_pairs(answer, gold)
    if pairs is None:
        return _verified(answer, parsed, gold)
    return bool(pairs) and all(_verified(ours, parse_answer(ours), theirs) for ours, theirs in pairs)


def _verified(answer: str, parsed: list[Any], gold: str) -> bool:
    from math_verify import verify  # noqa: PLC0415

    with decimals_of(answer, gold):
        # Its own time limits are signals that the parsed text could outlast; the fork server's clock is the limit.
        return verify(list(parse_gold(gold)), parsed, timeout_seconds=None, allow_set_relation_comp=True)


@lru_cache(maxsize=256)
def parse_gold(gold: str) -> tuple[Any, ...]:
    """A gold answer as math-verify reads it; parsed once for all answers to a problem."""
    return tuple(parse_answer(gold))


def parse_answer(text: str) -> list[Any]:
    """Sympy expressions, and the text itself where it is not one; empty when nothing looks like an answer."""
    from math_verify import LatexExtractionConfig, parse  # noqa: PLC0415

    # math-verify knows `i` by its word boundaries: without this, `2i` and `i+i` hold two different symbols.
    text = _NUMBER_I.sub(r"\1 i", text)
    targets = [LatexExtractionConfig(boxed_match_priority=0)]
    parsed = cast("list[Any]", parse(rf"\boxed{{{text}}}", targets, parsing_timeout=cast("int", None)))
    return [_one_of(parsed[0]), *parsed[1:]] if parsed and _OR.search(text) else parsed


def _one_of(parsed: Any) -> Any:  # noqa: ANN401 - sympy is not typed
    """Inequalities joined by `or` as the numbers that satisfy one of them; everything else as it is."""
    from sympy import FiniteSet, Union  # noqa: PLC0415
    from sympy.core.relational import Relational  # noqa: PLC0415

    if not isinstance(parsed, FiniteSet) or len(parsed.free_symbols) != 1:
        return parsed
    parts = cast("tuple[Any, ...]", parsed.args)
    if not all(isinstance(part, Relational) and not part.is_Equality for part in parts):
        return parsed
    try:
        return cast("Any", Union)(*(part.as_set() for part in parts))
    except (NotImplementedError, ValueError):
        return parsed


def function_judge(path: str) -> Judge:
    """A judge that calls `module:function` as `function(completion, answers, problem)`."""
    module, _, names = path.partition(":")
    target: object = importlib.import_module(module)
    for name in names.split("."):
        target = getattr(target, name)
    if not callable(target):
        raise TypeError(f"expected {path} to be callable, got {type(target).__name__}")
    function = cast("Callable[[str, list[str], str], object]", target)

    def judge(payload: Mapping[str, object]) -> Payload:
        answers = list(cast("list[str]", payload["answers"]))
        return function_result(function(str(payload["completion"]), answers, str(payload["problem"])))

    return judge


def function_result(result: object) -> Payload:
    """A function's return value: True, False or a score in [0, 1]; anything else could not be graded."""
    unbox = getattr(result, "item", None)  # of a numpy or torch scalar
    result = unbox() if callable(unbox) else result
    if isinstance(result, bool):
        return {"score": float(result), "binary": True}
    if isinstance(result, (int, float)) and 0 <= result <= 1:
        return {"score": float(result), "binary": False}
    if result is None:
        raise ValueError("the function returned None")
    raise ValueError(f"expected True, False or a number in [0, 1], got {str(result)[:50]} ({type(result).__name__})")
