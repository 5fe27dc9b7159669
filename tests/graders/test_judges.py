from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import sympy
from math_verify import grader, parser
from sympy.parsing import sympy_parser

from mrt_reward.graders import judges


@pytest.fixture
def mathematics(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker's mathematics in this process, and sympy as it was afterwards."""
    # Registering the attributes restores them; `prepare_math` then overwrites them.
    monkeypatch.setattr(sympy_parser, "eval_expr", cast("Any", sympy_parser).eval_expr)
    monkeypatch.setattr(sympy_parser, "parse_expr", cast("Any", sympy_parser).parse_expr)
    monkeypatch.setattr(parser, "parse_expr_cached", cast("Any", parser).parse_expr_cached)
    monkeypatch.setattr(grader, "sympy_numeric_eq", cast("Any", grader).sympy_numeric_eq)
    monkeypatch.setattr(grader, "sympy_compare_symbols", cast("Any", grader).sympy_compare_symbols)
    judges.prepare_math()
    yield
    judges.parse_gold.cache_clear()


def verdict(answer: str, *golds: str) -> object:
    return judges.judge_math({"answer": answer, "golds": list(golds)})["verdict"]


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("x^2-1", "(x-1)(x+1)"), (r"\sqrt{18}", r"3\sqrt{2}"), ("(1,2]", "(1,2]"), ("2,1", r"\{1,2\}"),
        ("x=10", "10"), (r"19\text{ square units}", "19"), ("50\\%", "0.5"), ("1.5", r"1\frac{1}{2}"),
        (r"\begin{bmatrix}1\\2\end{bmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"), ("2^{10}", "1024"),
        (r"\text{Tuesday}", "Tuesday"), ("0.333333", "1/3"), ("3i+2", "2+3i"),
        (r"2i\sqrt{3}", r"2\sqrt{3}i"), ("2i", "i+i"), ("1e3", "1e3"),
    ],
)  # fmt: skip
def test_equal_mathematics_is_correct(answer: str, gold: str) -> None:
    assert verdict(answer, gold) == "correct"


@pytest.mark.usefixtures("mathematics")
def test_unequal_mathematics_is_incorrect_and_any_gold_will_do() -> None:
    assert verdict("x+1", "x+2") == "incorrect"
    assert verdict("(1,2)", "[1,2]") == "incorrect"
    assert verdict("x+1", "x+2", "1+x") == "correct"


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        (r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}"), (r"\frac{1}{50!}", r"\frac{1}{51!}"), ("e^{-40}", "e^{-41}"),
        (r"6.63\times10^{-34}", r"9.11\times10^{-31}"), (r"\{10^{-20}\}", r"\{10^{-21}\}"), ("0.33333", "1/3"),
        (r"\sqrt{2}\cdot10^{-20}", r"\sqrt{3}\cdot10^{-20}"), ("(1.0000001,2)", "(1.0000002,2)"), ("3.1416", r"\pi"),
        ("(3,4)", "x=4,y=3"), ("(a,b)=(2,1)", "a=1,b=2"), (r"\frac{2^{100}-1}{2^{100}}", "1"),
    ],
)  # fmt: skip
def test_values_that_are_near_or_in_another_order_are_incorrect(answer: str, gold: str) -> None:
    assert verdict(answer, gold) == "incorrect"


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("3.14159265", r"\pi"), ("1.414214", r"\sqrt{2}"), ("(0.5,0.333333)", r"(\frac{1}{2},\frac{1}{3})"),
        (r"e^{i\pi}", "-1"), ("i^2", "-1"), ("(3,4)", "x=3,y=4"), ("y=4,x=3", "(3,4)"), ("a=2,b=1", "(a,b)=(2,1)"),
        (r"\frac{1}{e^{50}}", "e^{-50}"), ("x=i", "i"),
    ],
)  # fmt: skip
def test_equal_values_are_correct_to_the_digits_that_are_written(answer: str, gold: str) -> None:
    assert verdict(answer, gold) == "correct"


@pytest.mark.usefixtures("mathematics")
def test_what_is_no_answer_or_untrue_is_no_answer_that_is_right() -> None:
    assert verdict("", "3") == "unparsed"
    assert verdict("1=2=3", "3") == "incorrect"


@pytest.mark.usefixtures("mathematics")
@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        (r"x<1\text{ or }x>2", r"(-\infty,1)\cup(2,\infty)", "correct"),
        (r"x<1\text{ or }x>3", r"(-\infty,1)\cup(2,\infty)", "incorrect"),
        (r"3\text{ or }5", r"\{3,5\}", "correct"),
    ],
)
def test_inequalities_joined_by_or_are_the_numbers_that_satisfy_one(answer: str, gold: str, expected: str) -> None:
    assert verdict(answer, gold) == expected


@pytest.mark.usefixtures("mathematics")
def test_no_text_reaches_eval(tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    with pytest.raises(judges.Forbidden):
        sympy.sympify(f"open('{canary}','w')")
    with pytest.raises(judges.Forbidden):
        judges.sealed_eval("1")
    # Numbers are what math-verify asks sympy to read, and all it may.
    assert sympy.Number("12") == 12
    assert sympy.Number("-0.5") == sympy.Rational(-1, 2)
    assert str(sympy.sympify("(3/2)")) == "3/2"
    assert str(sympy.sympify("x")) == "x"
    assert not canary.exists()


def test_the_audit_hook_refuses_what_executed_text_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for event, arguments in [("os.system", ("ls",)), ("compile", ("1", "<string>")), ("open", ("x", "w", 0))]:
        with pytest.raises(judges.Forbidden, match=event):
            judges.refuse(event, arguments)
    for event, arguments in [("import", ("x",)), ("compile", (None, "/a/b.py")), ("open", ("x", "r", 0)), ("open", ("x", None, 0))]:  # fmt: skip # noqa: E501
        judges.refuse(event, arguments)
    hooks: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    assert judges.load_math() is judges.judge_math
    assert hooks == [judges.refuse]


@pytest.mark.usefixtures("mathematics")
def test_a_module_that_was_never_compiled_can_still_be_imported_late(tmp_path: Path) -> None:
    # As after an installation without bytecode: Python would write it, which the hook refuses.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = "from mrt_reward.graders.judges import load_math; load_math(); import colorsys; print(colorsys.__name__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPYCACHEPREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "colorsys\n", done.stderr


def test_the_mathematics_loads_before_the_fork_and_functions_after_it() -> None:
    assert judges.loader("math") is judges.load_math
    with pytest.raises(ModuleNotFoundError):
        judges.loader("no_such_module_here:f")()


def test_a_function_is_called_with_the_completion_the_answers_and_the_problem() -> None:
    judge = judges.function_judge("tests.graders.functions:equal")
    assert judge({"completion": "4", "answers": ["4"], "problem": "2+2"}) == {"score": 1.0, "binary": True}
    with pytest.raises(TypeError, match="callable"):
        judges.function_judge("tests.graders.functions:NOT_A_FUNCTION")
    assert judges.function_judge("tests.graders.functions:Holder.half")({"completion": "", "answers": [], "problem": ""}) == {"score": 0.5, "binary": False}  # fmt: skip # noqa: E501


def test_only_booleans_and_numbers_between_0_and_1_are_results() -> None:
    assert judges.function_result(np.bool_(1)) == {"score": 1.0, "binary": True}
    assert judges.function_result(np.float32(0.5)) == {"score": 0.5, "binary": False}
    assert judges.function_result(1) == {"score": 1.0, "binary": False}
    for wrong in (None, "1", 1.5, float("nan"), Decimal(1), [True]):
        with pytest.raises(ValueError, match=r"returned None|expected True, False or a number"):
            judges.function_result(wrong)
