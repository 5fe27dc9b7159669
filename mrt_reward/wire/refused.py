"""Traces that break their schema: each gets an error of its own, and the request they came in goes on.

The schema in the OpenAPI document stays that of a sound trace. What breaks it is read as a record without anything but
what it has of an id and of metadata, so that its error can be reported at its index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from mrt_reward.errors import TraceError
from mrt_reward.mistakes import Mistake, mistakes
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace
from mrt_reward.wire.traces import refuse_contradictions, trace_mistakes


@dataclass(frozen=True, slots=True)
class RefusedTrace(Trace):
    """A trace that breaks the schema; only its id, empty where it has none, and its metadata can be read.

    Attributes:
        error: what is wrong with it.

    """

    error: TraceError = field(kw_only=True)

    @classmethod
    def of(cls, raw: object, error: TraceError) -> RefusedTrace:
        """The trace as it was sent, and what is wrong with it."""
        fields = fields_of(raw)
        metadata: object = fields.get("metadata")
        known = cast("dict[str, object]", metadata) if isinstance(metadata, dict) else {}
        return cls(readable_id(fields), metadata=known, error=error)


def refuse(trace: Trace) -> None:
    """Refuse a trace that breaks the schema, or whose fields contradict each other.

    Raises:
        TraceError: with the field.

    """
    if isinstance(trace, RefusedTrace):
        raise trace.error
    refuse_contradictions(trace)


def fields_of(raw: object) -> Mapping[str, Any]:
    """The fields of JSON that should be an object; none of anything else."""
    return cast("Mapping[str, Any]", raw) if isinstance(raw, Mapping) else {}


def _broken_field(found: Sequence[Mistake]) -> TraceError:
    """The first field that breaks the schema of a record: what was expected and what came."""
    first, *others = found
    more = f" (and {len(others)} more)" if others else ""
    return TraceError(f"{first.param or 'trace'}: {first.message}{more}", param=first.param or None)


def readable_id(fields: Mapping[str, Any]) -> str:
    """The id of a record that breaks its schema, as far as it can be read; empty if it cannot."""
    given = fields.get("id")
    text = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    return text[:500]


def _trace_or_refused(raw: Any, sound: ValidatorFunctionWrapHandler) -> Trace:  # noqa: ANN401 - any JSON
    try:
        return cast("Trace", sound(raw))
    except ValidationError as error:
        return RefusedTrace.of(raw, _broken_field(trace_mistakes(error)))


LenientTrace = Annotated[Trace, WrapValidator(_trace_or_refused)]
"""A trace, or a `RefusedTrace` where it breaks the schema."""


class _ShortForm:
    """Says that a loop of one's own may send numbers alone."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:  # noqa: ANN401 - pydantic's
        """The record, or its short form."""
        return {"anyOf": [handler(core_schema), _SHORT]}


_CHARS = {"type": "integer", "minimum": 0}
_ENDS = ("char_start", "char_end", "token_start", "token_end")
_SHORT: dict[str, Any] = {
    "title": "ScoredTrace in short",
    "description": "J[0] … J[K] alone, null where missing, empty where it was not scored; the K spans, in characters "
    "of the completion, are needed for `per_token`, and in tokens for `rate` and `anytime`.",
    "type": "object",
    "properties": {
        "id": {"anyOf": [{"type": "string", "maxLength": 500}, {"type": "integer"}]},
        "outcome": {"anyOf": [{"type": "number", "minimum": -1e6, "maximum": 1e6}, {"type": "null"}]},
        "values": {
            "type": "array",
            "maxItems": 10_001,
            "items": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]},
        },
        "episodes": {
            "anyOf": [
                {
                    "type": "array",
                    "maxItems": 10_000,
                    "items": {
                        "type": "object",
                        "properties": dict.fromkeys(_ENDS, _CHARS),
                        "required": ["char_start", "char_end"],
                        "additionalProperties": False,
                    },
                },
                {"type": "null"},
            ]
        },
        "truncated": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["id", "outcome", "values"],
    "additionalProperties": False,
}


def _completed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a scored trace, whose short form is completed.

    A number or null stands for a value. Spans may lack their tokens, which are empty then; credit that needs them asks.
    """
    found = dict(raw)
    if isinstance(given := found.get("id"), int) and not isinstance(given, bool):
        found["id"] = str(given)
    status = Status.ERROR
    if isinstance(values := found.get("values"), list) and values:
        found["values"] = [_as_value(value) for value in cast("list[object]", values)]
        known = [value is not None for value in cast("list[object]", values)]
        status = Status.OK if all(known) else Status.PARTIAL
    found.setdefault("status", status)
    if found.get("episodes", ()) is None:
        del found["episodes"]
    elif isinstance(episodes := found.get("episodes"), list):
        empty = {"token_start": 0, "token_end": 0}
        found["episodes"] = [
            {**empty, **each} if isinstance(each, dict) else each for each in cast("list[object]", episodes)
        ]
    return found


def _as_value(given: object) -> object:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    return {"value": given} if is_number or given is None else given


def _scored_or_refused(raw: Any, sound: ValidatorFunctionWrapHandler) -> ScoredTrace:  # noqa: ANN401 - any JSON
    fields = fields_of(raw)
    try:
        if fields and "outcome" not in fields:
            raise TraceError("outcome: expected the reward, or null where it is not known, got none", param="outcome")
        if fields and "values" not in fields:
            raise TraceError("values: expected J[0] … J[K], or [] where it was not scored, got none", param="values")
        if "token_ends" in fields:
            raise TraceError("token_ends: stands beside `traces` now, one for each trace", param="token_ends")
        return cast("ScoredTrace", sound(_completed(fields) if fields else raw))
    except ValidationError as error:
        refused = _broken_field(mistakes(error.errors(include_url=False), ScoredTrace))
    except TraceError as error:
        refused = error
    return ScoredTrace(readable_id(fields), Status.ERROR, error=ErrorInfo.of(refused))


LenientScored = Annotated[ScoredTrace, WrapValidator(_scored_or_refused), _ShortForm]
"""A scored trace, in full or in short; one that breaks the schema has status "error" and no outcome."""
