"""What a caller probably meant by a name that the contract does not know."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from mrt_reward.errors import did_you_mean

UNKNOWN_NAME = ("extra_forbidden", "unexpected_keyword_argument")
"""Types of pydantic's errors that say so."""

MAX_NAME_CHARS = 64
"""A longer name is nobody's slip, and takes long to compare."""


def meant(record: Any, path: Sequence[str | int]) -> str:  # noqa: ANN401 - a type
    """End of a message about an unknown name: the nearest one that may stand there, or nothing.

    Args:
        record: what the body must be.
        path: pydantic's, to the name; of a union it has the tag or the class that was chosen.

    """
    *within, name = path
    if not isinstance(name, str) or len(name) > MAX_NAME_CHARS:
        return ""
    kinds = _alternatives(record)
    for part in within:
        kinds = _items(kinds) if isinstance(part, int) else _inner(kinds, part)
    return did_you_mean(name, {known for kind in kinds for known in _fields(kind)})


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401 - a type
    """What a type may be, without its annotations."""
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for each in get_args(hint) for kind in _alternatives(each)]
    return [hint]


def _items(kinds: Iterable[Any]) -> list[Any]:
    """What stands in lists of these types."""
    return [item for kind in kinds for each in get_args(kind) for item in _alternatives(each)]


def _inner(kinds: Sequence[Any], part: str) -> list[Any]:
    """Types of a field, or the one of these types that a part of a path names."""
    chosen = [kind for kind in kinds if part in _names(kind)]
    return chosen or [each for kind in kinds for each in _alternatives(_fields(kind).get(part))]


def _names(kind: Any) -> set[str]:  # noqa: ANN401 - a type
    """How paths name one type of a union: by its class, or by its `kind`."""
    tag = _fields(kind).get("kind")
    tags: tuple[str, ...] = get_args(tag) if get_origin(tag) is Literal else ()
    return {str(getattr(kind, "__name__", "")), *tags}


def _fields(kind: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a type
    """Fields of a record by name; none of what is no record."""
    if not isinstance(kind, type):
        return {}
    if issubclass(kind, BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    return get_type_hints(cast("type[Any]", kind)) if is_dataclass(cast("type[Any]", kind)) else {}
