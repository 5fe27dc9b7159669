"""A trace on the wire: the pipeline's own records, read and written by what their annotations say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from mrt_reward.errors import TraceError
from mrt_reward.mistakes import Mistake, mistakes, path_of
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ScoredTrace, Trace

MAX_TRACES = 1024
MAX_DEPTH = 64
"""Deepest nesting of a body, itself included; far above what the contract needs, far below what recursion stands."""

PROMPT_FIELDS = ("problem", "messages", "prompt", "prompt_ids")

TRACE_FIELDS = frozenset(field.name for field in fields(Trace))

RENAMED = {"episodes": "episode_starts"}
"""Fields of a trace that had another name, and meant there what no other `episodes` means."""


def _whole(given: object, read: ValidatorFunctionWrapHandler) -> object:
    """What lacks a part must not pass for a trace without values."""
    found = read(given)
    if isinstance(given, Mapping):
        for name in ("outcome", "values", "episodes"):
            if name not in given:
                raise PydanticCustomError("missing", "{name} is missing", {"name": name})
    return found


WholeScored = Annotated[ScoredTrace, WrapValidator(_whole)]
"""A scored trace as the server writes it."""

_TRACE = TypeAdapter(Trace)
# Without the configuration of `Model`: unknown fields, which a later version may write into a file, are skipped.
_SCORED: TypeAdapter[ScoredTrace] = TypeAdapter(WholeScored)


class Model(BaseModel):
    """Base of requests and replies: unknown fields are refused by name, and NaN is no number.

    The records within them are read as strictly.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, json_schema_serialization_defaults_required=True)


def read_trace(given: Trace | Mapping[str, object]) -> Trace:
    """A trace from its fields in JSON or in Python; those of a record are checked again.

    Raises:
        ValidationError: of pydantic; a field breaks the schema.

    """
    given = _shallow(given) if isinstance(given, Trace) else given
    return _TRACE.validate_python(given)


def trace_fields(trace: Trace) -> dict[str, Any]:
    """What a trace has, as JSON; its metadata as they are."""
    found = _TRACE.dump_python(trace, mode="json", exclude={"metadata"}, exclude_none=True)
    found["metadata"] = trace.metadata
    return {name: value for name, value in found.items() if value or name not in ("answer", "metadata")}


def scored_fields(scored: ScoredTrace) -> dict[str, Any]:
    """A scored trace as JSON, without the notes of its reply."""
    return _SCORED.dump_python(scored, mode="json")


def scored_json(scored: ScoredTrace) -> str:
    """A scored trace as JSON text, without the notes of its reply."""
    return _SCORED.dump_json(scored).decode()


def read_scored(given: Mapping[str, object]) -> ScoredTrace:
    """What `scored_fields` wrote; unknown fields are skipped.

    Raises:
        ValidationError: of pydantic; a field breaks the schema.

    """
    return _SCORED.validate_python(given)


def trace_mistakes(error: ValidationError) -> list[Mistake]:
    """What breaks the schema of a trace; of an earlier name, or an option of scoring, what to write instead."""
    found = mistakes(error.errors(include_url=False), Trace)
    return [replace(each, message=_moved(each.param) or each.message) for each in found]


def _moved(name: str) -> str | None:
    """Where a field is given that a trace does not have, and something else has or had."""
    if name in RENAMED:
        return f"this field is {RENAMED[name]} now"
    path = None if name in TRACE_FIELDS else path_of(name, ScoreOptions)
    return path and (
        f"this is an option of scoring, not a field of a trace: give it as options.{path} beside the traces, or in the "
        "--options of a command"
    )


def refuse_contradictions(trace: Trace) -> None:
    """Refuse a trace whose fields contradict each other or are missing; the schema cannot say so.

    Raises:
        TraceError: with the field.

    """
    asked = [name for name in PROMPT_FIELDS if getattr(trace, name) is not None]
    texts = [name for name in asked if name != "prompt_ids"]
    if not asked:
        raise TraceError(f"expected one of {', '.join(PROMPT_FIELDS)}, got none: send one", param="problem")
    if len(texts) > 1:
        raise TraceError(
            f"expected exactly one of problem, messages and prompt, got {' and '.join(texts)}: send one",
            param=texts[1],
        )
    if trace.completion is None and trace.completion_ids is None:
        raise TraceError("expected completion or completion_ids, got neither: send one", param="completion")
    if trace.prompt_ids is not None and not trace.prompt_ids.size:
        raise TraceError("prompt_ids: expected at least one token, got none", param="prompt_ids")


def sound_trace(given: Mapping[str, object]) -> Trace:
    """A trace that the pipeline takes.

    Raises:
        ValidationError: see `read_trace`.
        TraceError: see `refuse_contradictions`.

    """
    trace = read_trace(given)
    refuse_contradictions(trace)
    return trace


def _shallow(trace: Trace) -> Mapping[str, object]:
    return cast("Mapping[str, object]", {field.name: getattr(trace, field.name) for field in fields(trace)})
