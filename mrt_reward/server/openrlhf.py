"""OpenRLHF's remote reward protocol, as its 0.11 trainer speaks it: one scalar per query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from mrt_reward.errors import GraderError, TraceError
from mrt_reward.types import ScoredTrace, Status, Trace
from mrt_reward.wire import GetRewardRequest, GetRewardResponse

ASSISTANT_OPENERS = (
    "<|im_start|>assistant",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<\uff5cAssistant\uff5c>",
    "<start_of_turn>model",
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
    return [
        _trace(place, query, prompt, label, needs_answer=needs_answer)
        for place, (query, prompt, label) in enumerate(zip(request.query, request.prompts, request.labels, strict=True))
    ]


def _trace(place: int, query: str, prompt: str, label: object, *, needs_answer: bool) -> Trace:
    start = _response_start(query, prompt)
    if start is None:
        raise TraceError(
            f"query.{place}: the response was not found: the query neither starts with its prompt nor holds one of "
            f"{', '.join(repr(opener) for opener in ASSISTANT_OPENERS)}",
            param=f"query.{place}",
        )
    answer = _answers(place, label)
    if needs_answer and not answer:
        raise TraceError(f"labels.{place}: the grader needs the gold answer, got none", param=f"labels.{place}")
    return Trace(id=str(place), prompt=query[:start], completion=_without_end(query[start:]), answer=answer)


def _answers(place: int, label: object) -> tuple[str, ...]:
    items = cast("list[object]", label) if isinstance(label, list) else [label]
    if not all(item is None or isinstance(item, str | int | float) for item in items):
        raise TraceError(
            f"labels.{place}: expected the gold answer as text or a number, or a list of them", param=f"labels.{place}"
        )
    return tuple(str(item) for item in items if item is not None and str(item).strip())


def _without_end(response: str) -> str:
    """The response without the tokens that end a turn, which the trainer decodes along with it."""
    end = len(response)
    while True:
        # By index, because each copy of a long response costs as much as all of it.
        shorter = end
        while shorter and response[shorter - 1].isspace():
            shorter -= 1
        token = next((token for token in END_TOKENS if response.endswith(token, 0, shorter)), None)
        if token is None:
            return response[:end]
        end = shorter - len(token)


def _response_start(query: str, prompt: str) -> int | None:
    if prompt and query.startswith(prompt):
        return len(prompt)
    # The trainer truncates long prompts on the left, so the prompt may not be found; its last turn still is.
    start = max((query.rfind(opener) + len(opener) for opener in ASSISTANT_OPENERS if opener in query), default=None)
    while start is not None and query.startswith("\n", start):
        start += 1  # The template's own line break after the opener.
    return start


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
