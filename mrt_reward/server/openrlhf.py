"""OpenRLHF's remote reward protocol, as its 0.11 trainer speaks it: one scalar per query."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mrt_reward.core.credit_config import PaidValues
from mrt_reward.core.progress import values_of
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

    def read(index: int) -> Trace | TraceError:
        try:
            return _trace(request, index, needs_answer=needs_answer)
        except TraceError as error:
            return error

    found = [read(index) for index in range(len(request.query))]
    refused = [each for each in found if isinstance(each, TraceError)]
    if refused:
        # A reply is one number per query, and there is none for these.
        more = "" if len(refused) == 1 else f" (and {len(refused) - 1} more of {len(request.query)} queries: "
        more += ", ".join(str(error.param) for error in refused[1:MAX_NAMED]) + (")" if more else "")
        raise TraceError(f"{refused[0]}{more}", code=refused[0].code, param=refused[0].param)
    return [each for each in found if isinstance(each, Trace)]


def _trace(request: GetRewardRequest, index: int, *, needs_answer: bool) -> Trace:
    parts = taken_apart(request.query[index], request.prompts[index])
    if parts is None:
        raise TraceError(
            f"query.{index}: the response was not found: expected the query to hold prompts.{index}, or its end where "
            "it is cut on the left, followed by the response; send the prompt as it was tokenized",
            param=f"query.{index}",
        )
    answer = golds_of(request.labels[index], param=f"labels.{index}")
    if needs_answer and not answer:
        raise TraceError(f"labels.{index}: the grader needs the gold answer, got none", param=f"labels.{index}")
    return Trace(id=str(index), prompt=parts[0], completion=parts[1], answer=answer)


def to_rewards(scored: Sequence[ScoredTrace], alpha: float, paid: PaidValues = "raw") -> GetRewardResponse:
    """Rewards r + α(J[K] - J[0]), scores r, and the same numeric logs for every query.

    A query that could not be proved keeps its outcome, and says `mrt_failed`. With `posterior`, the progress that is
    paid and logged is that of the posterior means; values are logged as they are.

    Raises:
        GraderError: an outcome could not be judged; there is no honest number to send.
        TraceError: the values that are to be paid are not there; see `values_of`.

    """
    outcomes: list[float] = []
    for trace in scored:
        if trace.outcome is None:
            why = "; ".join(trace.warnings) or "the grader failed"
            raise GraderError(f"query.{trace.id}: no outcome: {why}", param=f"labels.{trace.id}")
        outcomes.append(trace.outcome)
    ends = [_ends(trace) for trace in scored]
    gained = [_gain(trace, paid) for trace in scored]
    gains = [gain or 0.0 for gain in gained]
    return GetRewardResponse(
        rewards=[outcome + alpha * gain for outcome, gain in zip(outcomes, gains, strict=True)],
        scores=outcomes,
        extra_logs={
            # The protocol knows numbers alone: where this is 1, the zeros below say nothing.
            "mrt_failed": [float(gain is None) for gain in gained],
            "mrt_progress": gains,
            "mrt_value_first": [0.0 if each is None else each[0] for each in ends],
            "mrt_value_last": [0.0 if each is None else each[1] for each in ends],
            "mrt_episodes": [
                0.0 if each is None else float(len(trace.episodes)) for each, trace in zip(ends, scored, strict=True)
            ],
        },
    )


def _gain(trace: ScoredTrace, paid: PaidValues) -> float | None:
    """From the first value to the last one, of those that are paid; None if either is missing."""
    if trace.status is Status.ERROR:
        return None
    try:
        paid_P = values_of(trace, paid)
    except ValueError as error:
        raise TraceError(f"query.{trace.id}: {error}", param="paid_values") from error
    gain = float("nan") if paid_P is None else float(paid_P[-1] - paid_P[0])
    return None if math.isnan(gain) else gain


def _ends(trace: ScoredTrace) -> tuple[float, float] | None:
    """J[0] and J[K]; None if either is missing."""
    if trace.status is Status.ERROR or not trace.values:
        return None
    first, last = trace.values[0].value, trace.values[-1].value
    return None if first is None or last is None else (first, last)
