"""Whole groups to advantages; traces that were not scored before are scored here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mrt_reward.core.credit import CreditConfig, CreditTrace, credit
from mrt_reward.options import ScoreOptions
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace
from mrt_reward.wire import AdvantageOut, AdvantagesRequest, AdvantagesResponse, ScoredIn, TraceOut, UnscoredGroup


async def advantages(scorer: Scorer, request: AdvantagesRequest, options: ScoreOptions) -> AdvantagesResponse:
    """Advantages of each group, in order."""
    unscored = [
        trace.to_trace() for group in request.groups if isinstance(group, UnscoredGroup) for trace in group.traces
    ]
    scored = iter(await scorer.score(unscored, options) if unscored else ())
    groups: list[list[AdvantageOut]] = []
    for group in request.groups:
        if isinstance(group, UnscoredGroup):
            here = [next(scored) for _ in group.traces]
            groups.append(_paid(request.credit, [_as_scored(trace) for trace in here], here))
        else:
            groups.append(_paid(request.credit, group.scored, None))
    return AdvantagesResponse(groups=groups)


def _as_scored(trace: ScoredTrace) -> ScoredIn:
    return ScoredIn(id=trace.id, outcome=trace.outcome, values=[value.value for value in trace.values])


def _paid(config: CreditConfig, group: Sequence[ScoredIn], scored: Sequence[ScoredTrace] | None) -> list[AdvantageOut]:
    paid = credit([_credit_trace(trace) for trace in group], config)
    return [
        AdvantageOut(
            id=trace.id,
            outcome=each.outcome,
            episodes=each.episode_K.tolist(),
            answer=each.answer,
            scored=each.scored,
            trace=None if scored is None else TraceOut.from_scored(scored[place]),
        )
        for place, (trace, each) in enumerate(zip(group, paid, strict=True))
    ]


def _credit_trace(trace: ScoredIn) -> CreditTrace:
    if not trace.values:
        return CreditTrace(trace.outcome, None)
    return CreditTrace(trace.outcome, np.array([np.nan if value is None else value for value in trace.values]))
