"""What is sent: each trace is checked and written as JSON once, when the caller hands it over.

What is no JSON is refused there, with the field named, so that it reaches neither the server nor another caller's
request.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from mrt_reward.errors import RequestRejected, TraceError
from mrt_reward.mistakes import Mistake, mistakes
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wire import (
    MAX_DEPTH,
    AdvantagesRequest,
    Group,
    RefusedTrace,
    read_options,
    read_trace,
    trace_fields,
    trace_mistakes,
)

TraceLike = Trace | Mapping[str, object]

OptionsLike = ScoreOptions | Mapping[str, object]
"""A record, or a mapping of its fields as the wire has them."""

Groups = Sequence[Sequence[ScoredTrace | TraceLike] | Mapping[str, object]]
"""Each the traces of one problem, scored or not, or a mapping that has them as `traces`."""

_OPTIONS = TypeAdapter(ScoreOptions)

MAX_REQUEST_BYTES = 8_000_000
MAX_REQUEST_TRACES = 256

MAX_INTEGER_BITS = sys.float_info.max_exp
"""Longer integers are beyond a double, which the server refuses."""


@dataclass(frozen=True, slots=True)
class Written:
    """One trace as JSON, all but its id, which is another one where traces of several callers travel together."""

    id: str
    fields: bytes
    asked: str
    """What traces of one problem have in common: their group, else what was asked."""

    def as_json(self, trace_id: str) -> bytes:
        """JSON of the trace with this id."""
        head = b'{"id":' + json.dumps(trace_id).encode()
        return head + (b"," + self.fields[1:] if len(self.fields) > 2 else b"}")


def written(trace: object, index: int) -> Written:
    """A trace as it is sent; without an id, its index is the id.

    Raises:
        RequestRejected: it is no trace, or no JSON; the message names the field.

    """
    where = f"traces.{index}"
    if not isinstance(trace, Trace | Mapping):
        raise _refusal(where, f"expected a trace or a mapping with its fields, got {type(trace).__name__}")
    try:
        given = trace if isinstance(trace, Trace) else {"id": str(index), **cast("Mapping[str, object]", trace)}
        sent = read_trace(given)
        refuse_no_json(sent.metadata, f"{where}.metadata", MAX_DEPTH - 3)
        fields = trace_fields(sent)
        del fields["id"]
        return Written(sent.id, to_json(fields), _asked(sent))
    except ValidationError as error:
        raise rejected(trace_mistakes(error), f"{where}.") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise _refusal(where, f"cannot be written as JSON ({error})") from error


def _asked(trace: Trace) -> str:
    if trace.prompt_ids is not None and trace.group is None:
        return trace.prompt_ids.tobytes().hex()
    turns = "\n".join(turn.content for turn in trace.messages or ())
    return trace.group or trace.problem or trace.prompt or turns


def write_all(traces: Sequence[TraceLike]) -> list[Written]:
    """Every trace as it is sent; raises as `written` does, and where two have one id.

    A server refuses the second one of a request, and which traces share a request is no matter of the caller's.
    """
    found = [written(trace, index) for index, trace in enumerate(traces)]
    first: dict[str, int] = {}
    for index, trace in enumerate(found):
        if (before := first.setdefault(trace.id, index)) != index:
            what = f"{trace.id[:100]!r} is the id of traces.{before} too: give each trace of a call its own"
            raise _refusal(f"traces.{index}.id", what, code="duplicate_id")
    return found


def split(traces: Sequence[Written]) -> list[list[Written]]:
    """Parts that are small enough for one request each, in order."""
    parts: list[list[Written]] = []
    num_bytes = 0
    for trace in traces:
        size = len(trace.fields) + len(trace.id)
        if not parts or num_bytes + size > MAX_REQUEST_BYTES or len(parts[-1]) == MAX_REQUEST_TRACES:
            parts.append([])
            num_bytes = 0
        parts[-1].append(trace)
        num_bytes += size
    return parts


def checked(options: OptionsLike | None) -> ScoreOptions | None:
    """Options as the contract has them.

    Raises:
        RequestRejected: they are none; the message names the field.

    """
    try:
        return None if options is None else read_options(options)
    except ValidationError as error:
        raise rejected(mistakes(error.errors(include_url=False), ScoreOptions), "options.") from error


def score_body(traces: Sequence[Written], options: ScoreOptions | None, ids: Sequence[str]) -> bytes:
    """A request for these traces, under these ids."""
    body = b",".join(trace.as_json(trace_id) for trace, trace_id in zip(traces, ids, strict=True))
    rest = b"" if options is None else b',"options":' + _OPTIONS.dump_json(options)
    return b'{"traces":[' + body + b"]" + rest + b"}"


def advantages_body(request: AdvantagesRequest | Mapping[str, object]) -> bytes:
    """A request for advantages.

    Raises:
        RequestRejected: it is none, or no JSON; the message names the field.

    """
    try:
        body = request if isinstance(request, AdvantagesRequest) else AdvantagesRequest.model_validate(request)
        groups = [_sent(group, f"groups.{index}") for index, group in enumerate(body.groups)]
        return body.model_copy(update={"groups": groups}).model_dump_json().encode()
    except ValidationError as error:
        raise rejected(mistakes(error.errors(include_url=False), AdvantagesRequest), "") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise _refusal("groups", f"cannot be written as JSON ({error})") from error


def advantages_request(groups: Groups, **chosen: object) -> dict[str, object]:
    """The same request in one mapping; what is None is left to the server."""
    whole = [group if isinstance(group, Mapping) else {"traces": list(group)} for group in groups]
    return {"groups": whole} | {name: value for name, value in chosen.items() if value is not None}


def _sent(group: Group, where: str) -> Group:
    """A group as it is sent: of scored traces only what advantages are made of.

    Raises:
        RequestRejected: one of its traces breaks the schema.

    """
    traces: list[Trace | ScoredTrace] = []
    for index, trace in enumerate(group.traces):
        here = f"{where}.traces.{index}"
        if isinstance(trace, RefusedTrace):
            raise _refusal(f"{here}.{trace.error.param or ''}".rstrip("."), str(trace.error))
        if isinstance(trace, ScoredTrace):
            values = tuple(replace(value, answers=None) for value in trace.values)
            traces.append(replace(trace, values=values, metadata={}))
        else:
            refuse_no_json(trace.metadata, f"{here}.metadata", MAX_DEPTH - 5)
            traces.append(trace)
    for j, ends in enumerate(group.token_ends or ()):
        if isinstance(ends, TraceError):
            raise _refusal(f"{where}.token_ends.{j}", str(ends))
    return group.model_copy(update={"traces": traces})


def rejected(found: Sequence[Mistake], where: str) -> RequestRejected:
    """The error for a caller whose input breaks the contract of a record: the first thing that does."""
    [first, *_] = found
    return _refusal(f"{where}{first.param}".rstrip("."), first.message)


def refuse_no_json(value: object, where: str, max_depth: int) -> None:
    """See that a value is JSON as the server takes it, so that it comes back as it was sent.

    Args:
        value: the caller's own.
        where: its name for the caller, in dotted form.
        max_depth: levels below and with it, which also ends a value that holds itself.

    Raises:
        RequestRejected: it, or something in it, is not.

    """
    level: list[tuple[str, object]] = [(where, value)]
    for _ in range(max_depth):
        level = [child for name, node in level for child in _children(name, node)]
        if not level:
            return
    raise _refusal(where, f"is nested more than {max_depth} levels deep, or holds itself")


def _children(name: str, node: object) -> list[tuple[str, object]]:
    if isinstance(node, dict):
        fields = cast("dict[object, object]", node)
        for key in fields:
            if not isinstance(key, str):
                raise _refusal(name, f"JSON has text as keys, got {type(key).__name__}: write {str(key)[:50]!r}")
            _refuse_surrogate(name, key)
        return [(f"{name}.{key}"[:300], child) for key, child in cast("dict[str, object]", fields).items()]
    if isinstance(node, list | tuple):
        items = cast("Sequence[object]", node)
        return [(f"{name}.{index}"[:300], child) for index, child in enumerate(items)]
    _refuse_scalar(name, node)
    return []


def _refuse_scalar(name: str, node: object) -> None:
    if isinstance(node, str):
        _refuse_surrogate(name, node)
    elif isinstance(node, float):
        if not math.isfinite(node):
            raise _refusal(name, f"{node} is not a JSON number: send null, or text")
    elif isinstance(node, int):
        if node.bit_length() > MAX_INTEGER_BITS:
            raise _refusal(name, "an integer beyond a double, of more than 308 digits: send it as text")
    elif node is not None:
        kind = f"{type(node).__module__}.{type(node).__qualname__}".removeprefix("builtins.")
        raise _refusal(name, f"{kind} is no JSON: send numbers, text, true, false, null, lists and objects of these")


def _refuse_surrogate(name: str, text: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _refusal(name, f"character {error.start} is a lone surrogate, which is no Unicode text") from error


def _refusal(param: str, message: str, *, code: str = "invalid_request") -> RequestRejected:
    printable = param.encode("ascii", "backslashreplace").decode()
    return RequestRejected(f"{printable}: {message}", code=code, param=printable)
