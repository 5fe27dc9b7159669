"""Traces that break their schema: each gets an error of its own, and the request they came in goes on.

The schema in the OpenAPI document stays that of a sound trace. A trace that breaks it is read as one whose `to_trace`
raises, with whatever it has of an id and of metadata, so that its error can be told where it stood.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import PrivateAttr, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from mrt_reward.errors import TraceError
from mrt_reward.types import Trace
from mrt_reward.wire.traces import TraceIn

MAX_SHOWN = 60


class RefusedTrace(TraceIn):
    """A trace that breaks the schema; only its id and its metadata can be read."""

    _error: TraceError = PrivateAttr()

    @classmethod
    def of(cls, raw: object, error: TraceError) -> RefusedTrace:
        """The trace as it was sent, and what is wrong with it. Its id is empty where it has none."""
        fields = fields_of(raw)
        metadata: object = fields.get("metadata")
        refused = cls.model_construct(id=readable_id(fields), metadata=metadata if isinstance(metadata, dict) else {})
        refused._error = error  # noqa: SLF001 - its own
        return refused

    def to_trace(self) -> Trace:
        """It is none.

        Raises:
            TraceError: always, with what is wrong.

        """
        raise self._error


def fields_of(raw: object) -> Mapping[str, Any]:
    """The fields of JSON that should be an object; none of anything else."""
    return cast("Mapping[str, Any]", raw) if isinstance(raw, Mapping) else {}


def broken_field(error: ValidationError, record: str = "") -> TraceError:
    """The first field that breaks a schema: what was expected and what came."""
    found = error.errors(include_url=False)
    first = found[0]
    # A union names its members beside the fields: a reader needs the fields.
    param = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
    got = f", got {_shown(first['input'])}"
    match first["type"]:
        case "missing":
            told = "expected a value, got none"
        case "extra_forbidden":
            told = "this field is unknown: expected fields of the contract only; put your own into metadata"
        case "string_pattern_mismatch":
            told = f"expected base64 of little-endian int32{got}"
        case "gold":
            told = first["msg"].removeprefix(f"{param}: ")
        case "model_type":
            told = f"expected an object{got}"
        case _:
            told = first["msg"].replace("Input should be", "expected", 1) + got
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return TraceError(f"{param or record}: {told}{more}", param=param or None)


def readable_id(fields: Mapping[str, Any]) -> str:
    """The id of a record that breaks its schema, as far as it can be told; empty if it cannot."""
    given = fields.get("id")
    text = str(given) if isinstance(given, str | int) and not isinstance(given, bool) else ""
    return text[:500]


def _shown(value: object) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _trace_or_refused(raw: Any, sound: ValidatorFunctionWrapHandler) -> TraceIn:  # noqa: ANN401 - any JSON
    try:
        return cast("TraceIn", sound(raw))
    except ValidationError as error:
        return RefusedTrace.of(raw, broken_field(error, "trace"))


LenientTrace = Annotated[TraceIn, WrapValidator(_trace_or_refused)]
"""A trace, or a `RefusedTrace` where it breaks the schema."""
