"""Whole groups to advantages; traces that were not scored before are scored here.

Dimension key: K episodes · T tokens of the caller.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mrt_reward.core.baselines import Extent
from mrt_reward.core.credit import Credit, credit, token_advantages
from mrt_reward.core.prefixes import token_spans
from mrt_reward.core.progress import Floats, values_of
from mrt_reward.errors import TraceError
from mrt_reward.options import ScoreOptions
from mrt_reward.server.scoring import notes_of, score_each
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ErrorInfo, ScoredTrace, Span
from mrt_reward.wire import AdvantageOut, AdvantagesRequest, AdvantagesResponse, Group
from mrt_reward.wire.routes import MAX_PER_TOKEN
from mrt_reward.wire.traces import MAX_TRACES


async def advantages(
    scorer: Scorer, request: AdvantagesRequest, options: ScoreOptions, count: Callable[[ScoredTrace], None]
) -> AdvantagesResponse:
    """Advantages of each group; raises as `Scorer.stream` does.

    Raises:
        TraceError: there are more traces than one request may hold, or more `token_ends` than traces.

    """
    _check_size(request)
    asked = [trace for group in request.groups for trace in group.traces if not isinstance(trace, ScoredTrace)]
    scored = dict([item async for item in score_each(scorer, asked, options, count)])
    in_order = [scored[index] for index in range(len(asked))]
    # In a thread, because a body may hold millions of tokens.
    groups = await asyncio.to_thread(_all_paid, request, in_order)
    return AdvantagesResponse(groups=groups, notes=notes_of(in_order))


def _check_size(request: AdvantagesRequest) -> None:
    num_traces = sum(len(group.traces) for group in request.groups)
    most = MAX_PER_TOKEN if request.per_token else MAX_TRACES
    if num_traces > most:
        what = " with per_token" if request.per_token else ""
        raise TraceError(f"groups: expected at most {most} traces in all{what}, got {num_traces}", param="groups")
    for index, group in enumerate(request.groups):
        num_ends, num_here = len(group.token_ends or ()), len(group.traces)
        if num_ends > num_here:
            where = f"groups.{index}.token_ends"
            raise TraceError(f"{where}: expected one for each of the {num_here} traces, got {num_ends}", param=where)


def _all_paid(request: AdvantagesRequest, measured: Sequence[ScoredTrace]) -> list[list[AdvantageOut]]:
    """Advantages of each group, where `measured` are the traces that were scored here, in their order."""
    rest = iter(measured)
    return [
        _paid(
            request,
            group,
            [trace if isinstance(trace, ScoredTrace) else next(rest) for trace in group.traces],
        )
        for group in request.groups
    ]


def _paid(request: AdvantagesRequest, group: Group, scored: Sequence[ScoredTrace]) -> list[AdvantageOut]:
    extents = [Extent.of(trace) for trace in scored]
    try:
        request.credit.check_values(scored)
        values = [values_of(trace, request.credit.paid_values) for trace in scored]
        paid = credit([trace.outcome for trace in scored], values, request.credit, extents)
    except ValueError as error:
        raise TraceError(f"credit: {error}", param="credit") from error
    outs: list[AdvantageOut] = []
    for index, (trace, each) in enumerate(zip(scored, paid, strict=True)):
        out = AdvantageOut(
            id=trace.id,
            **_numbers(each),
            scored=each.scored,
            trace=None if isinstance(group.traces[index], ScoredTrace) else trace,
            error=trace.error,
        )
        if request.per_token:
            try:
                advantage_T = _per_token(each, trace, group, index)
                as_text = request.per_token in (True, "base64")
                out.token_advantages = _base64(advantage_T) if as_text else advantage_T.tolist()
            except TraceError as error:
                out.error = out.error or ErrorInfo.of(error)
        outs.append(out)
    return outs


def _numbers(paid: Credit) -> dict[str, Any]:
    """What the parts of a trace are paid; nothing is known of one without a reward."""
    if paid.outcome_advantage is None:
        nothing_K = [None] * paid.episode_advantage_K.size
        return {"outcome_advantage": None, "episode_advantages": nothing_K, "answer_advantage": None}
    return {
        "outcome_advantage": paid.outcome_advantage,
        "episode_advantages": paid.episode_advantage_K.tolist(),
        "answer_advantage": paid.answer_advantage,
        "closing_advantage": paid.closing_advantage,
        "ending_bonuses": paid.ending_bonus_K.tolist(),
    }


def _per_token(paid: Credit, trace: ScoredTrace, group: Group, index: int) -> Floats:
    if paid.outcome_advantage is None:
        raise TraceError("outcome: expected a number, got none, so that no token has an advantage", param="outcome")
    token_ends = group.token_ends or []
    ends_T = token_ends[index] if index < len(token_ends) else None
    if ends_T is None:
        raise TraceError("per_token needs token_ends: the characters complete after each token", param="token_ends")
    if isinstance(ends_T, TraceError):
        raise ends_T
    if ends_T.size and (np.diff(ends_T) < 0).any():
        raise TraceError("token_ends must not decrease", param="token_ends")
    spans_K = token_spans([Span(episode.char_start, episode.char_end) for episode in trace.episodes], ends_T)
    answer_start = spans_K[-1].end if spans_K else 0
    try:
        return token_advantages(paid, spans_K, answer_start, len(ends_T))
    except ValueError as error:
        raise TraceError(f"episodes: {error}", param="episodes") from error


def _base64(advantage_T: Floats) -> str:
    return base64.b64encode(advantage_T.astype("<f4").tobytes()).decode()
