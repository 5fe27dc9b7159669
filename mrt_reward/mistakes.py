"""What is wrong with data that breaks its record: where, what was expected, what came, and the nearest right word.

All who read requests, options and settings say it from here. The names come from the record's own JSON schema, which is
made when the first mistake is found in one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

MAX_NAME_CHARS = 64
"""A longer name is nobody's slip, and takes long to compare."""

MAX_SHOWN = 60
"""Characters of what came that are repeated."""

MAX_DEEP = 4
"""Levels of records that are looked through for a name."""

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "problem": ("question", "query", "instruction", "input", "prompt_text", "task"),
    "answer": ("label", "target", "ground_truth", "gold", "gold_answer", "final_answer", "expected_answer", "solution"),
    "completion": ("response", "output", "generation", "generated_text", "reasoning", "text", "solution"),
}
"""What data sets call the fields of a trace; a name that stands twice is rather the first."""

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_NO_OBJECT = ("model_type", "dataclass_type", "model_attributes_type", "dict_type")

Node = Mapping[str, Any]
"""A part of a JSON schema."""


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known name that is most like another, if one is at least so much like it, from 0 to 1 (`difflib`)."""
    if len(name) > MAX_NAME_CHARS:
        return None
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=likeness)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, or nothing where none is near."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def path_of(name: str, record: object) -> str | None:
    """Where a name stands in a record, or in records within it, as a dotted path; None where at no or several paths."""
    schema = _schema(record)
    return _path_within(name, _alternatives(schema, schema), schema)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with the data.

    Attributes:
        path: names and indices that lead to it in the data; empty for all of it.
        message: what was expected, and what came.

    """

    path: tuple[str | int, ...]
    message: str

    @property
    def param(self) -> str:
        """The path in dotted form."""
        return ".".join(str(part) for part in self.path)

    def __str__(self) -> str:
        return f"{self.param}: {self.message}" if self.path else self.message


def mistakes(found: Sequence[Any], record: object) -> list[Mistake]:
    """What is wrong, once for each path: of a union's alternatives, the one that fits best speaks.

    Args:
        found: `errors()` of pydantic's `ValidationError`.
        record: the type that was validated; None where no names are known.

    """
    all_found = [_mistake(each, record) for each in found]
    above = {each.path[:depth] for each in all_found for depth in range(len(each.path))}
    kept: dict[tuple[str | int, ...], Mistake] = {}
    for each in all_found:
        if each.path not in above:
            kept.setdefault(each.path, each)
    return list(kept.values())


def _mistake(error: Mapping[str, Any], record: object) -> Mistake:
    loc: tuple[str | int, ...] = error["loc"]
    unknown = error["type"] in _UNKNOWN
    # Where a name is what is wrong, the names beside it matter.
    of_name = unknown or error["type"] == "missing"
    path, around = _located(record, loc[:-1] if of_name else loc)
    name = str(loc[-1]) if of_name else ""
    came, context = error.get("input"), error.get("ctx", {})
    got = f", got {shown(came)}" if "input" in error else ""
    match error["type"]:
        case "missing":
            return Mistake((*path, name), f"expected a value, got none{_instead(name, came, _names(around))}")
        case _ if unknown:
            within = _path_within(name, around, _schema(record))
            hint = f"; did you mean {within!r}?" if within else _choice(name, _names(around))
            return Mistake((*path, name), f"this field is unknown{hint}")
        case "union_tag_invalid":
            return Mistake((*path, "kind"), _expected(_words(context["expected_tags"]), context["tag"]))
        case "union_tag_not_found":
            return Mistake((*path, "kind"), f"{_one_of(_kinds(around))}, got none")
        case "literal_error" | "enum":
            return Mistake(path, _expected(_words(context["expected"]), came))
        case kind if kind in _NO_OBJECT and (kinds := _kinds(around)):
            near = nearest(came, kinds) if isinstance(came, str) else None
            return Mistake(path, f'expected an object with its kind, such as {{"kind": "{near or kinds[0]}"}}{got}')
        case kind if kind in _NO_OBJECT:
            return Mistake(path, f"expected an object{got}")
        case "field" | "value_error":
            return Mistake(path, error["msg"].removeprefix("Value error, ").removeprefix(f"{loc[-1] if loc else ''}: "))
        case _:
            # JSON has lists where the records have tuples.
            message = error["msg"].replace("Tuple", "List").replace("tuple", "list")
            message = re.sub("^Input should be (?=greater|less)", "expected a value ", message)
            return Mistake(
                path, message.replace("Input should be", "expected", 1) + got + _of_a_chat(error["type"], came)
            )


def _of_a_chat(kind: str, came: object) -> str:
    """End of a message about turns where a text is expected, as some trainers log a completion."""
    turns = cast("list[object]", came) if kind == "string_type" and isinstance(came, list) else []
    if turns and all(isinstance(turn, dict) and "content" in turn for turn in turns):
        return "; of a chat, give the content of its last turn alone"
    return ""


def shown(value: object) -> str:
    """What came, as JSON as far as it is, and no longer than a line."""
    text = ""
    try:
        for piece in json.JSONEncoder().iterencode(value):
            text += piece
            if len(text) > MAX_SHOWN:
                return f"{text[:MAX_SHOWN]}…"
    except (TypeError, ValueError):
        return type(value).__name__
    return text


def _expected(choices: Sequence[str], came: object) -> str:
    if not isinstance(came, str):
        return f"{_one_of(choices)}, got {shown(came)}"
    return f"{_one_of(choices)}, got {came[:MAX_SHOWN]!r}{did_you_mean(came, choices)}"


def _one_of(choices: Sequence[str]) -> str:
    return f"expected {'one of ' if len(choices) > 1 else ''}{', '.join(choices)}"


def _choice(name: str, known: Sequence[str]) -> str:
    if meant := [ours for ours, others in OTHER_NAMES.items() if ours in known and name.lower() in others]:
        return f"; did you mean {meant[0]!r}?"
    if near := did_you_mean(name, known):
        return near
    own = "; put your own into metadata" if "metadata" in known else ""
    return f": expected one of {', '.join(known)}{own}" if known else ""


def _instead(name: str, given: object, known: Sequence[str]) -> str:
    """The unknown name under which a missing value may have come."""
    others = [key for key in cast("dict[str, object]", given) if key not in known] if isinstance(given, dict) else []
    known_as = [other for other in others if other.lower() in OTHER_NAMES.get(name, ())]
    near = known_as[0] if known_as else nearest(name, others)
    return f"; did you write {near!r} for it?" if near else ""


def _words(quoted: str) -> list[str]:
    """The words of pydantic's `'a', 'b' or 'c'`."""
    return re.split(", | or ", quoted.replace("'", ""))


@cache
def _schema(record: Any) -> Node:  # noqa: ANN401 - a type
    from pydantic import TypeAdapter  # noqa: PLC0415 - only where there is a mistake

    return {} if record is None else TypeAdapter(record).json_schema()


def _located(record: object, loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], list[Node]]:
    """Path in the data, without the alternatives that pydantic names in between; and what may stand there."""
    schema = _schema(record)
    nodes, path = _alternatives(schema, schema), list[str | int]()
    for part in loc:
        if len(nodes) > 1 and (chosen := [node for node in nodes if part in (node.get("title"), *_kinds([node]))]):
            nodes = chosen
            continue
        inside = _leaves_at(nodes, part, schema)
        # What a value of a known type has not inside is one more name of an alternative.
        if inside or not all("type" in node for node in nodes) or not nodes:
            path.append(part)
            nodes = inside
    return tuple(path), nodes


def _alternatives(node: Node, schema: Node) -> list[Node]:
    """What a part may be, references followed; null aside, which has nothing inside."""
    if "$ref" in node:
        return _alternatives(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    inner: Sequence[Node] = node.get("anyOf") or node.get("oneOf") or ()
    leaves = [leaf for each in inner for leaf in _alternatives(each, schema)] if inner else [node]
    return [leaf for leaf in leaves if leaf.get("type") != "null"]


def _inside(node: Node, part: str | int) -> list[Node]:
    """What stands at a name or an index; names that are the caller's own all have the same there."""
    if isinstance(part, int):
        inside = [node.get("items")]
    elif part in node.get("properties", {}):
        inside = [node["properties"][part]]
    else:
        inside = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    return [cast("Node", each) for each in inside if isinstance(each, dict)]


def _leaves_at(nodes: Iterable[Node], part: str | int, schema: Node) -> list[Node]:
    return [leaf for node in nodes for inner in _inside(node, part) for leaf in _alternatives(inner, schema)]


def _names(nodes: Iterable[Node]) -> list[str]:
    return list(dict.fromkeys(name for node in nodes for name in node.get("properties", {})))


def _path_within(name: str, nodes: Sequence[Node], schema: Node) -> str | None:
    """The one shortest path to a name, through the records of these nodes and not through lists."""
    level: Mapping[str, Sequence[Node]] = {"": nodes}
    for _ in range(MAX_DEEP):
        found = [path + name for path, each in level.items() if name in _names(each)]
        if found:
            return found[0] if len(found) == 1 else None
        level = {
            f"{path}{inner}.": _leaves_at(each, inner, schema) for path, each in level.items() for inner in _names(each)
        }
    return None


def _kinds(nodes: Iterable[Node]) -> list[str]:
    """The `kind` of each record that has one."""
    kinds = [node.get("properties", {}).get("kind", {}).get("const") for node in nodes]
    return [kind for kind in kinds if kind is not None]
