"""What is written for a scored trace, by whatever verb; `traces` reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from mrt_reward.evaluation.traces import Evaluation
from mrt_reward.graders.answers import clean, find_answer
from mrt_reward.protocols import GradeItem
from mrt_reward.types import SampledAnswer, ScoredTrace, Trace, Value
from mrt_reward.wire import TraceIn, TraceOut

MAX_ANSWER_CHARS = 200


def record(
    trace: Trace | None,
    scored: ScoredTrace,
    extra: Mapping[str, object] | None = None,
    evaluation: Evaluation | None = None,
) -> dict[str, Any]:
    """What the server would send, and beside it the trace, so that the file can be read by itself.

    Args:
        trace: what was scored; None where it could not even be read.
        scored: its values.
        extra: columns that are not ours.
        evaluation: how the trace came about.

    """
    fields = TraceOut.from_scored(scored).model_dump(mode="json")
    if trace is not None:
        fields["trace"] = TraceIn.from_trace(trace).model_dump(
            mode="json", exclude_none=True, exclude={"id", "metadata"}
        )
    if extra:
        fields["extra"] = dict(extra)
    if evaluation is not None:
        fields["evaluation"] = asdict(evaluation)
    return fields


def with_short_answers(value: Value, *, boxed_prefix: bool) -> Value:
    """The value with each kept answer cut down to what it answers, which is what votes are told apart by."""
    if value.answers is None:
        return value
    return replace(value, answers=tuple(_short(answer, boxed_prefix=boxed_prefix) for answer in value.answers))


def _short(answer: SampledAnswer, *, boxed_prefix: bool) -> SampledAnswer:
    found = find_answer(GradeItem(answer.text, (), boxed_prefix=boxed_prefix))
    return replace(answer, text="" if found is None else clean(found.text)[-MAX_ANSWER_CHARS:])
