r"""When two values are equal: exactly where both are exact, to the digits that are written where one is a decimal.

Stands where math-verify rounds to six decimals and cuts off what is small, so that `1/2^{98}` would equal
`1/2^{99}`. Imports sympy, and so belongs to the workers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
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
def decimals_of(*texts: str) -> Generator[None]:
    """Compare values to the digits of the decimals in these texts."""
    token = _digits.set(fewest_digits(*texts))
    try:
        yield
    finally:
        _digits.reset(token)


def values_equal(left: object, right: object, *_: object) -> bool:
    """Whether two sympy values without symbols are equal; False where symbols need algebra.

    Has the signature of math-verify's `sympy_numeric_eq`.
    """
    from sympy import MatrixBase, MatrixExpr  # noqa: PLC0415

    if isinstance(left, (MatrixBase, MatrixExpr)) and isinstance(right, (MatrixBase, MatrixExpr)):
        ours, theirs = _done(left), _done(right)
        if not (isinstance(ours, MatrixBase) and isinstance(theirs, MatrixBase)) or ours.shape != theirs.shape:
            return False
        entries = zip(cast("Any", ours).flat(), cast("Any", theirs).flat(), strict=True)
        return all(_same(one, other) for one, other in entries)
    return _same(left, right)


def symbols_equal(compare: Callable[[Any, Any], bool]) -> Callable[[object, object], bool]:
    """A comparison for where one side is a symbol, such as math-verify's, in which `i` is a number."""

    def equal(left: object, right: object) -> bool:
        sides = cast("tuple[Any, Any]", (left, right))
        imaginary = any(side.is_Symbol and side.name == "i" and not side.is_real for side in sides)
        return compare(left, right) or (imaginary and _close(left, right))

    return equal


def _same(left: object, right: object) -> bool:
    """Whether two expressions are the same value; a percentage is its number and a hundredth of it."""
    from math_verify import grader  # noqa: PLC0415

    ours, theirs = (cast("Any", grader).get_pct_val(side) for side in (left, right))
    if (ours is None) == (theirs is None):
        return _close(left, right)
    return _close(left, right) or _close(left if ours is None else ours, right if theirs is None else theirs)


def _close(left: object, right: object) -> bool:
    import sympy  # noqa: PLC0415

    # `i` is a symbol to math-verify, and one that is not real where it is the imaginary unit.
    imaginary = cast("Any", sympy).I
    ours, theirs = (_done(cast("Any", side).subs(sympy.Symbol("i", real=False), imaginary)) for side in (left, right))
    if ours == theirs:
        return True
    if not (ours.is_number and theirs.is_number):
        return False
    digits = _digits.get()
    if ours.is_Rational and theirs.is_Rational:
        return digits is not None and near(Fraction(ours.p, ours.q), Fraction(theirs.p, theirs.q), digits)
    ours, theirs = (side.evalf(WORKING_DIGITS) for side in (ours, theirs))
    least, difference = min(abs(ours), abs(theirs)), abs(ours - theirs)
    if not (least.is_Float or least.is_Integer) or not difference.is_comparable:
        return False
    if least == 0 or not least.is_finite:
        return bool(difference == 0)
    exponent = int(sympy.floor(sympy.log(sympy.Float(least, WORKING_DIGITS), 10)))
    unit = sympy.Float(10, WORKING_DIGITS) ** sympy.Integer(exponent + 1 - (digits or _EXACT_DIGITS))
    return bool(difference < unit)


def _done(value: object) -> Any:  # noqa: ANN401 - sympy is not typed
    from math_verify.grader import safe_sympy_doit  # noqa: PLC0415

    return cast("Any", safe_sympy_doit(cast("Any", value)))
