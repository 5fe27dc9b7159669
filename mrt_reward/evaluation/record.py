"""What is written for a scored trace, by whatever verb; `traces` reads it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from pydantic import TypeAdapter

from mrt_reward.evaluation.result import Evaluation
from mrt_reward.graders.answers import clean, find_answer
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import GradeItem
from mrt_reward.types import SampledAnswer, ScoredTrace, Status, Trace, Value
from mrt_reward.wire import scored_fields, trace_fields

MAX_ANSWER_CHARS = 200

_OPTIONS = TypeAdapter(ScoreOptions)


def record(
    trace: Trace | None,
    scored: ScoredTrace,
    extra: Mapping[str, object] | None = None,
    evaluation: Evaluation | None = None,
    options: ScoreOptions | None = None,
) -> dict[str, Any]:
    """What the server would send, and beside it the trace, so that the file can be read by itself.

    Args:
        trace: what was scored; None where it could not even be read.
        scored: its values.
        extra: columns that are not ours.
        evaluation: how the trace came about.
        options: that it was scored with, so that values got in another way are distinguished from these.

    """
    fields = scored_fields(scored)
    if options is not None:
        fields["options"] = _OPTIONS.dump_python(options, mode="json")
    if trace is not None:
        trace_record = trace_fields(trace)
        fields["trace"] = {name: value for name, value in trace_record.items() if name not in ("id", "metadata")}
    if extra:
        fields["extra"] = dict(extra)
    if evaluation is not None:
        fields["evaluation"] = asdict(evaluation)
    return fields


def line_key(fields: Mapping[str, Any]) -> tuple[str, str]:
    """Model and id of a line that `record` made; `None` for a model that it does not tell."""
    extra: Mapping[str, Any] = fields.get("evaluation") or {}
    return str(extra.get("model")), str(fields.get("id"))


def all_but_failures(model: str, *, direct: bool) -> Callable[[Mapping[str, Any]], bool]:
    """Which lines to keep when a model is gone on with: what failed of it is tried again, and leaves no line then.

    Args:
        model: that is gone on with.
        direct: whether its answers without thinking are, or its traces.

    """

    def keep(fields: Mapping[str, Any]) -> bool:
        extra: Mapping[str, Any] = fields.get("evaluation") or {}
        is_direct = extra.get("direct") is not None
        return fields.get("status") != Status.ERROR.value or line_key(fields)[0] != model or is_direct != direct

    return keep


def with_short_answers(value: Value, *, boxed_prefix: bool) -> Value:
    """The value with each kept answer cut down to what it answers, which is what votes are distinguished by."""
    if value.answers is None:
        return value
    return replace(value, answers=tuple(_short(answer, boxed_prefix=boxed_prefix) for answer in value.answers))


def _short(answer: SampledAnswer, *, boxed_prefix: bool) -> SampledAnswer:
    found = find_answer(GradeItem(answer.text, (), boxed_prefix=boxed_prefix))
    return replace(answer, text="" if found is None else clean(found.text)[-MAX_ANSWER_CHARS:])
