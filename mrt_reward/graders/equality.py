r"""When two values are equal: exactly where both are exact, to the digits that are written where one is a decimal.

Stands where math-verify rounds to six decimal places and cuts off what is small, so that `1/2^{98}` would equal
`1/2^{99}`. Imports sympy, and so belongs to the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any, cast

from mrt_reward.graders.numbers import fewest_digits, near

WORKING_DIGITS = 60
"""Digits to which values are computed that no exact arithmetic decides."""
_EXACT_DIGITS = 40
_digits: ContextVar[int | None] = ContextVar("digits", default=None)


@contextmanager
def decimals_of(*texts: str) -> Iterator[None]:
    """Compare values to the digits of the decimals in these texts."""
    token = _digits.set(fewest_digits(*texts))
    try:
        yield
    finally:
        _digits.reset(token)


def values_equal(left: Any, right: Any, *_: object) -> bool:
    """Whether two sympy values without symbols are equal; False where symbols need algebra.

    Has the signature of math-verify's `sympy_numeric_eq`.
    """
    from sympy import MatrixBase, MatrixExpr  # noqa: PLC0415

    if isinstance(left, (MatrixBase, MatrixExpr)) and isinstance(right, (MatrixBase, MatrixExpr)):
        left, right = _done(left), _done(right)
        if not (isinstance(left, MatrixBase) and isinstance(right, MatrixBase)) or left.shape != right.shape:
            return False
        return all(_same(a, b) for a, b in zip(left.flat(), right.flat(), strict=True))
    return _same(left, right)


def symbols_equal(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A comparison for where one side is a symbol, such as math-verify's, in which `i` is a number."""

    def equal(left: Any, right: Any) -> bool:
        imaginary = any(side.is_Symbol and side.name == "i" and not side.is_real for side in (left, right))
        return compare(left, right) or (imaginary and _close(left, right))

    return equal


def _same(left: Any, right: Any) -> bool:
    """Whether two expressions are the same value; a percentage is its number and a hundredth of it."""
    from math_verify.grader import get_pct_val  # noqa: PLC0415

    whole = [get_pct_val(side) for side in (left, right)]
    if (whole[0] is None) == (whole[1] is None):
        return _close(left, right)
    return _close(left, right) or _close(*(side if part is None else part for side, part in zip((left, right), whole, strict=True)))  # fmt: skip # noqa: E501


def _close(left: Any, right: Any) -> bool:
    from sympy import I, Symbol  # noqa: PLC0415

    left, right = (_done(side.subs(Symbol("i", real=False), I)) for side in (left, right))
    if left == right:
        return True
    if not (left.is_number and right.is_number):
        return False
    digits = _digits.get()
    if left.is_Rational and right.is_Rational:
        return digits is not None and near(*(Fraction(int(side.p), int(side.q)) for side in (left, right)), digits)
    ours, theirs = (side.evalf(WORKING_DIGITS) for side in (left, right))
    least, difference = min(abs(ours), abs(theirs)), abs(ours - theirs)
    if not (least.is_Float or least.is_Integer) or not difference.is_comparable:
        return False
    if least == 0 or not least.is_finite:
        return bool(difference == 0)
    return bool(difference < _unit(least))


def _unit(least: Any) -> Any:
    """The distance at which two values, the smaller of which is `least`, are no longer the same."""
    from sympy import Float, Integer, floor, log  # noqa: PLC0415

    exponent = int(floor(log(Float(least, WORKING_DIGITS), 10)))
    return Float(10, WORKING_DIGITS) ** Integer(exponent + 1 - (_digits.get() or _EXACT_DIGITS))


def _done(value: Any) -> Any:
    from math_verify.grader import safe_sympy_doit  # noqa: PLC0415

    return cast("Any", safe_sympy_doit(value))
