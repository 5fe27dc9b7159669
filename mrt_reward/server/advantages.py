"""Whole groups to advantages; traces that were not scored before are scored here.

Dimension key: K episodes · T tokens of the caller.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence

import numpy as np

from mrt_reward.core.credit import Credit, CreditTrace, credit, token_advantages
from mrt_reward.core.prefixes import token_spans
from mrt_reward.errors import TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.server.scoring import score_each, told
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Span
from mrt_reward.wire import (
    AdvantageOut,
    AdvantagesRequest,
    AdvantagesResponse,
    ScoredGroup,
    ScoredIn,
    SpanIn,
    TraceOut,
    UnscoredGroup,
)
from mrt_reward.wire.routes import MAX_PER_TOKEN
from mrt_reward.wire.traces import MAX_TRACES, decode_ids


async def advantages(
    scorer: Scorer, request: AdvantagesRequest, options: ScoreOptions, count: Callable[[ScoredTrace], None]
) -> AdvantagesResponse:
    """Advantages of each group; raises as `Scorer.stream` does.

    Raises:
        TraceError: there are more traces than one request may hold.

    """
    _check_size(request)
    asked = [trace for group in request.groups if isinstance(group, UnscoredGroup) for trace in group.traces]
    scored = dict([item async for item in score_each(scorer, asked, options, count)])
    rest = iter([scored[place] for place in range(len(asked))])
    groups: list[list[AdvantageOut]] = []
    for group in request.groups:
        here = [next(rest) for _ in group.traces] if isinstance(group, UnscoredGroup) else []
        records = group.scored if isinstance(group, ScoredGroup) else _records(group, here)
        groups.append(_paid(request, records, here))
    return AdvantagesResponse(groups=groups)


def _check_size(request: AdvantagesRequest) -> None:
    num_traces = sum(len(group.scored if isinstance(group, ScoredGroup) else group.traces) for group in request.groups)
    most = MAX_PER_TOKEN if request.per_token else MAX_TRACES
    if num_traces > most:
        what = " with per_token" if request.per_token else ""
        raise TraceError(f"groups: expected at most {most} traces in all{what}, got {num_traces}", param="groups")


def _records(group: UnscoredGroup, scored: Sequence[ScoredTrace]) -> list[ScoredIn]:
    ends = group.token_ends or []
    return [
        ScoredIn(
            id=trace.id,
            outcome=trace.outcome,
            values=[value.value for value in trace.values],
            episodes=[SpanIn(char_start=each.char_start, char_end=each.char_end) for each in trace.episodes],
            token_ends=ends[place] if place < len(ends) else None,
        )
        for place, trace in enumerate(scored)
    ]


def _paid(request: AdvantagesRequest, group: Sequence[ScoredIn], scored: Sequence[ScoredTrace]) -> list[AdvantageOut]:
    paid = credit([_credit_trace(trace) for trace in group], request.credit)
    outs: list[AdvantageOut] = []
    for place, (trace, each) in enumerate(zip(group, paid, strict=True)):
        out = AdvantageOut(
            id=trace.id,
            outcome=each.outcome,
            episodes=each.episode_K.tolist(),
            answer=each.answer,
            scored=each.scored,
            trace=TraceOut.from_scored(scored[place]) if scored else None,
        )
        if request.per_token:
            try:
                out.tokens = _per_token(each, trace)
            except TraceError as error:
                out.error = told(error)
        outs.append(out)
    return outs


def _credit_trace(trace: ScoredIn) -> CreditTrace:
    if not trace.values:
        return CreditTrace(trace.outcome, None)
    return CreditTrace(trace.outcome, np.array([np.nan if value is None else value for value in trace.values]))


def _per_token(paid: Credit, trace: ScoredIn) -> str:
    ends_T = decode_ids(trace.token_ends, "token_ends")
    if ends_T is None:
        raise TraceError("per_token needs token_ends: the characters complete after each token", param="token_ends")
    if ends_T.size and (np.diff(ends_T) < 0).any():
        raise TraceError("token_ends must not decrease", param="token_ends")
    spans_K = token_spans([Span(each.char_start, each.char_end) for each in trace.episodes or ()], ends_T)
    answer_start = spans_K[-1].end if spans_K else 0
    try:
        advantage_T = token_advantages(paid, spans_K, answer_start, len(ends_T))
    except ValueError as error:
        raise TraceError(f"episodes: {error}", param="episodes") from error
    return base64.b64encode(advantage_T.astype("<f4").tobytes()).decode()
