"""Options of records: each states its range, choices and description where it is declared, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

T = TypeVar("T")

_Rule = tuple[str, Callable[[Any], bool], str]
"""A field's name, whether a value is allowed, and what is, in words."""


def option(default: T, description: str) -> T:
    """A field of a dataclass, and what it means: for `--help`, the tables of settings and the OpenAPI document."""
    return field(default=default, metadata={"description": description})


def check_ranges(record: Any) -> None:  # noqa: ANN401 - any dataclass
    """Check the fields of a dataclass that are annotated with `Ge`, `Gt`, `Le`, `Lt` or `Literal`; None is no number.

    Raises:
        ValueError: a field is outside its range or choices.

    """
    for name, allows, words in _rules(record.__class__):
        value = getattr(record, name)
        if not allows(value):
            raise ValueError(f"{name} must be {words}, got {value!r}")


@cache
def _rules(kind: type) -> tuple[_Rule, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(rule for each in fields(kind) for rule in _rules_of(each.name, hints[each.name]))


def _rules_of(name: str, hint: Any) -> Iterator[_Rule]:  # noqa: ANN401 - a type
    """Rules of an annotation, or of the one kind that may stand beside None."""
    optional = False
    if get_origin(hint) in (Union, UnionType):
        kinds = [each for each in get_args(hint) if each is not NoneType]
        if len(kinds) != 1 or len(get_args(hint)) == 1:
            return
        hint, optional = kinds[0], True
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        yield name, lambda value: value in choices or (optional and value is None), f"one of {', '.join(choices)}"
    if get_origin(hint) is Annotated:
        bounds = [each for each in get_args(hint)[1:] if isinstance(each, Ge | Gt | Le | Lt)]
        if bounds:
            yield (
                name,
                lambda value: (optional and value is None) or all(_within(value, bound) for bound in bounds),
                " and ".join(_in_words(bound) for bound in bounds),
            )


def _within(value: Any, bound: Ge | Gt | Le | Lt) -> bool:  # noqa: ANN401 - a number
    match bound:
        case Ge(ge=least):
            return bool(value >= least)
        case Gt(gt=below):
            return bool(value > below)
        case Le(le=most):
            return bool(value <= most)
        case Lt(lt=above):
            return bool(value < above)


def _in_words(bound: Ge | Gt | Le | Lt) -> str:
    match bound:
        case Ge(ge=least):
            return f"at least {least}"
        case Gt(gt=below):
            return f"above {below}"
        case Le(le=most):
            return f"at most {most}"
        case Lt(lt=above):
            return f"below {above}"
