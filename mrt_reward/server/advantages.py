"""Whole groups to advantages; traces that were not scored before are scored here.

Dimension key: K episodes · T tokens of the caller.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.core.credit import Credit, credit, token_advantages
from mrt_reward.core.prefixes import token_spans
from mrt_reward.core.progress import Floats, nan_array, values_of
from mrt_reward.errors import TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.server.scoring import notes_of, score_each, told
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Span
from mrt_reward.wire import (
    AdvantageOut,
    AdvantagesRequest,
    AdvantagesResponse,
    RefusedScored,
    ScoredGroup,
    ScoredIn,
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
    in_order = [scored[place] for place in range(len(asked))]
    # In a thread, because a body may hold millions of tokens.
    groups = await asyncio.to_thread(_all_paid, request, in_order)
    return AdvantagesResponse(groups=groups, notes=notes_of(in_order))


def _all_paid(request: AdvantagesRequest, measured: Sequence[ScoredTrace]) -> list[list[AdvantageOut]]:
    """Advantages of each group, where `measured` are the traces that were scored here, in their order."""
    rest = iter(measured)
    return [
        _paid(
            request,
            [_sent(trace) for trace in group.scored]
            if isinstance(group, ScoredGroup)
            else [_measured(group, place, next(rest)) for place in range(len(group.traces))],
        )
        for group in request.groups
    ]


@dataclass(frozen=True, slots=True)
class _Member:
    """A trace of a group.

    Attributes:
        outcome: reward r; None where it is not known.
        value_P: see `values_of`.
        spans: of its episodes.
        token_ends: see `ScoredIn`.
        scored: where it was scored here.
        error: what is wrong with it, where it was scored before and cannot be read.

    """

    id: str
    outcome: float | None
    value_P: Floats | None
    spans: tuple[Span, ...]
    token_ends: str | None
    scored: ScoredTrace | None = None
    error: TraceError | None = None


def _sent(trace: ScoredIn) -> _Member:
    return _Member(
        trace.id,
        trace.outcome,
        nan_array(trace.values) if trace.values else None,
        tuple(Span(each.char_start, each.char_end) for each in trace.episodes or ()),
        trace.token_ends,
        error=trace.error if isinstance(trace, RefusedScored) else None,
    )


def _measured(group: UnscoredGroup, place: int, scored: ScoredTrace) -> _Member:
    ends = group.token_ends or []
    return _Member(
        scored.id,
        scored.outcome,
        values_of(scored),
        tuple(Span(each.char_start, each.char_end) for each in scored.episodes),
        ends[place] if place < len(ends) else None,
        scored,
    )


def _check_size(request: AdvantagesRequest) -> None:
    num_traces = sum(len(group.scored if isinstance(group, ScoredGroup) else group.traces) for group in request.groups)
    most = MAX_PER_TOKEN if request.per_token else MAX_TRACES
    if num_traces > most:
        what = " with per_token" if request.per_token else ""
        raise TraceError(f"groups: expected at most {most} traces in all{what}, got {num_traces}", param="groups")


def _paid(request: AdvantagesRequest, group: Sequence[_Member]) -> list[AdvantageOut]:
    paid = credit([member.outcome for member in group], [member.value_P for member in group], request.credit)
    outs: list[AdvantageOut] = []
    for member, each in zip(group, paid, strict=True):
        out = AdvantageOut(
            id=member.id,
            outcome=each.outcome_advantage,
            episodes=each.episode_advantage_K.tolist(),
            answer=each.answer_advantage,
            scored=each.scored,
            trace=None if member.scored is None else TraceOut.from_scored(member.scored),
            error=None if member.error is None else told(member.error),
        )
        if request.per_token and member.error is None:
            try:
                out.tokens = _per_token(each, member)
            except TraceError as error:
                out.error = told(error)
        outs.append(out)
    return outs


def _per_token(paid: Credit, trace: _Member) -> str:
    ends_T = decode_ids(trace.token_ends, "token_ends")
    if ends_T is None:
        raise TraceError("per_token needs token_ends: the characters complete after each token", param="token_ends")
    if ends_T.size and (np.diff(ends_T) < 0).any():
        raise TraceError("token_ends must not decrease", param="token_ends")
    spans_K = token_spans(trace.spans, ends_T)
    answer_start = spans_K[-1].end if spans_K else 0
    try:
        advantage_T = token_advantages(paid, spans_K, answer_start, len(ends_T))
    except ValueError as error:
        raise TraceError(f"episodes: {error}", param="episodes") from error
    return base64.b64encode(advantage_T.astype("<f4").tobytes()).decode()
