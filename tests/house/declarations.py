"""Where options are declared: as a field of a class, with a range, a description or a default."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tests.house.shape import Module

_STATES = frozenset({"Ge", "Gt", "Le", "Lt", "Field", "option"})
"""Calls that state a range or a description."""


@dataclass(frozen=True)
class Declaration:
    """A field that is written down in a class; what the class inherits is not.

    Attributes:
        owner: name of the class.
        name: of the field.
        declares: whether it has a range, a description, or a default that is a constant.

    """

    owner: str
    name: str
    declares: bool

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


def declarations(modules: Iterable[Module]) -> Iterator[Declaration]:
    """Fields of all classes: dataclasses, models, typed dicts."""
    for module in modules:
        for owner in (node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)):
            for field in owner.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield Declaration(owner.name, field.target.id, _declares(field))


def _declares(field: ast.AnnAssign) -> bool:
    if isinstance(field.value, ast.Constant) and field.value.value is not None:
        return True
    parts = [field.annotation, *([] if field.value is None else [field.value])]
    calls = (node for part in parts for node in ast.walk(part) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func) in _STATES for call in calls)


def options_of(record: type[Any]) -> set[str]:
    """Names of a record's options, inherited ones included."""
    return {each.name for each in fields(record)} if is_dataclass(record) else set(record.model_fields)


def home(record: type[Any], name: str) -> str:
    """The class that declares a record's option: the record, or what it inherits it from."""
    return next(each.__name__ for each in record.__mro__ if name in vars(each).get("__annotations__", {}))


def flags_with_ranges(modules: Iterable[Module]) -> set[tuple[str, str]]:
    """Parameters whose `typer.Option` states a range by itself, with the function that has them."""
    return {
        (function.name, parameter.arg)
        for module in modules
        for function in module.functions
        for parameter in [*function.args.args, *function.args.kwonlyargs]
        if parameter.annotation is not None and _states_range(parameter.annotation)
    }


def _states_range(annotation: ast.expr) -> bool:
    return any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == "typer.Option"
        and any(keyword.arg in ("min", "max") for keyword in node.keywords)
        for node in ast.walk(annotation)
    )
