"""OpenRLHF's remote reward protocol, as its 0.11 trainer speaks it: one scalar per query."""

from __future__ import annotations

from collections.abc import Sequence

from mrt_reward.errors import GraderError, TraceError
from mrt_reward.golds import golds_of
from mrt_reward.server.queries import taken_apart
from mrt_reward.types import ScoredTrace, Status, Trace
from mrt_reward.wire import GetRewardRequest, GetRewardResponse

MAX_NAMED = 20
"""Queries that one refusal names."""

DEADLINE_S = 150.0
"""The trainer gives up after 180 s and sends the same again."""


def to_traces(request: GetRewardRequest, *, needs_answer: bool) -> list[Trace]:
    """One trace per query.

    Args:
        request: as the trainer sent it.
        needs_answer: whether the grader cannot do without a label.

    Raises:
        TraceError: the lists differ in length, or a response cannot be found, or a label is no answer.

    """
    if not len(request.query) == len(request.prompts) == len(request.labels):
        raise TraceError(
            "query, prompts and labels must have the same length, "
            f"got {len(request.query)}, {len(request.prompts)} and {len(request.labels)}",
            param="query",
        )
    traces: list[Trace] = []
    refused: list[TraceError] = []
    for place, (query, prompt, label) in enumerate(zip(request.query, request.prompts, request.labels, strict=True)):
        try:
            traces.append(_trace(place, query, prompt, label, needs_answer=needs_answer))
        except TraceError as error:
            refused.append(error)
    if refused:
        # A reply is one number per query, and there is none for these.
        more = "" if len(refused) == 1 else f" (and {len(refused) - 1} more of {len(request.query)} queries: "
        more += ", ".join(str(error.param) for error in refused[1:MAX_NAMED]) + (")" if more else "")
        raise TraceError(f"{refused[0]}{more}", code=refused[0].code, param=refused[0].param)
    return traces


def _trace(place: int, query: str, prompt: str, label: object, *, needs_answer: bool) -> Trace:
    parts = taken_apart(query, prompt)
    if parts is None:
        raise TraceError(
            f"query.{place}: the response was not found: expected the query to hold prompts.{place}, or its end where it "
            "is cut on the left, followed by the response; send the prompt as it was tokenized",
            param=f"query.{place}",
        )
    answer = golds_of(label, param=f"labels.{place}")
    if needs_answer and not answer:
        raise TraceError(f"labels.{place}: the grader needs the gold answer, got none", param=f"labels.{place}")
    return Trace(id=str(place), prompt=parts[0], completion=parts[1], answer=answer)


def to_rewards(scored: Sequence[ScoredTrace], alpha: float) -> GetRewardResponse:
    """Rewards r + α(J[K] - J[0]), scores r, and the same numeric logs for every query.

    A query that could not be proved keeps its outcome, and says `mrt_failed`.

    Raises:
        GraderError: an outcome could not be judged; there is no honest number to send.

    """
    outcomes: list[float] = []
    for trace in scored:
        if trace.outcome is None:
            why = "; ".join(trace.warnings) or "the grader failed"
            raise GraderError(f"query.{trace.id}: no outcome: {why}", param=f"labels.{trace.id}")
        outcomes.append(trace.outcome)
    first = [_value(trace, 0) for trace in scored]
    last = [_value(trace, -1) for trace in scored]
    failed = [a is None or b is None for a, b in zip(first, last, strict=True)]
    gains = [0.0 if a is None or b is None else b - a for a, b in zip(first, last, strict=True)]
    return GetRewardResponse(
        rewards=[outcome + alpha * gain for outcome, gain in zip(outcomes, gains, strict=True)],
        scores=outcomes,
        extra_logs={
            "mrt_failed": [float(lost) for lost in failed],
            "mrt_progress": gains,
            "mrt_value_first": [0.0 if lost else value or 0.0 for lost, value in zip(failed, first, strict=True)],
            "mrt_value_last": [0.0 if lost else value or 0.0 for lost, value in zip(failed, last, strict=True)],
            "mrt_episodes": [
                0.0 if lost else float(len(trace.episodes)) for lost, trace in zip(failed, scored, strict=True)
            ],
        },
    )


def _value(trace: ScoredTrace, place: int) -> float | None:
    return None if trace.status is Status.ERROR else trace.values[place].value
