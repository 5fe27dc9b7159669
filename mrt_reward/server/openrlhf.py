"""OpenRLHF's remote reward protocol, as its 0.11 trainer speaks it: one scalar per query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mrt_reward.errors import GraderError, TraceError
from mrt_reward.types import ScoredTrace, Status, Trace
from mrt_reward.wire import GetRewardRequest, GetRewardResponse

ASSISTANT_OPENERS = (
    "<|im_start|>assistant\n",
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "<\uff5cAssistant\uff5c>",
    "<start_of_turn>model\n",
    "[/INST]",
)
END_TOKENS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<end_of_turn>",
    "</s>",
)

DEADLINE_S = 150.0
"""The trainer gives up after 180 s and sends the same again."""


def to_traces(request: GetRewardRequest) -> list[Trace]:
    """One trace per query.

    Raises:
        TraceError: the lists differ in length, or a query's response cannot be found.

    """
    if not len(request.query) == len(request.prompts) == len(request.labels):
        raise TraceError(
            "query, prompts and labels must have the same length, "
            f"got {len(request.query)}, {len(request.prompts)} and {len(request.labels)}",
            param="query",
        )
    return [
        _trace(place, query, prompt, label)
        for place, (query, prompt, label) in enumerate(zip(request.query, request.prompts, request.labels, strict=True))
    ]


def _trace(place: int, query: str, prompt: str, label: object) -> Trace:
    start = _response_start(query, prompt)
    if start is None:
        raise TraceError(
            f"query.{place}: the response was not found: the query neither starts with its prompt nor holds one of "
            f"{', '.join(repr(opener) for opener in ASSISTANT_OPENERS)}",
            param=f"query.{place}",
        )
    response = query[start:]
    for token in END_TOKENS:
        response = response.removesuffix(token)
    answers = cast("list[object]", label) if isinstance(label, list) else [label]
    answer = tuple(str(item) for item in answers if item is not None and str(item).strip())
    return Trace(id=str(place), prompt=query[:start], completion=response, answer=answer)


def _response_start(query: str, prompt: str) -> int | None:
    if prompt and query.startswith(prompt):
        return len(prompt)
    # The trainer truncates long prompts on the left, so the prompt may not be found; its last turn still is.
    ends = [query.rfind(opener) + len(opener) for opener in ASSISTANT_OPENERS if opener in query]
    return max(ends, default=None)


def to_rewards(scored: Sequence[ScoredTrace], alpha: float) -> GetRewardResponse:
    """Rewards r + α(J[K] - J[0]), scores r, and the same numeric logs for every query.

    A query that could not be proved keeps its outcome, and says `mrt_failed`.

    Raises:
        GraderError: an outcome could not be judged; there is no honest number to send.

    """
    outcomes: list[float] = []
    for trace in scored:
        if trace.outcome is None:
            why = trace.error.message if trace.error else "no gold answer in labels, or the grader failed"
            raise GraderError(f"query.{trace.id}: no outcome: {why}", param=f"labels.{trace.id}")
        outcomes.append(trace.outcome)
    first = [_value(trace, 0) for trace in scored]
    last = [_value(trace, -1) for trace in scored]
    gains = [0.0 if a is None or b is None else b - a for a, b in zip(first, last, strict=True)]
    return GetRewardResponse(
        rewards=[outcome + alpha * gain for outcome, gain in zip(outcomes, gains, strict=True)],
        scores=outcomes,
        extra_logs={
            "mrt_failed": [float(a is None or b is None) for a, b in zip(first, last, strict=True)],
            "mrt_progress": gains,
            "mrt_value_first": [value or 0.0 for value in first],
            "mrt_value_last": [value or 0.0 for value in last],
            "mrt_episodes": [float(len(trace.episodes)) for trace in scored],
        },
    )


def _value(trace: ScoredTrace, place: int) -> float | None:
    return None if trace.status is Status.ERROR else trace.values[place].value
