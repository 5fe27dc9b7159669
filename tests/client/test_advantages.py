"""Scored traces from the client straight back to it, for advantages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mrt_reward.client import AsyncClient, Client
from mrt_reward.client.bodies import advantages_body, advantages_request
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import RequestRejected
from mrt_reward.types import SampledAnswer, ScoredTrace, Status, Trace, Value, Verdict
from tests.server.conftest import TRACE, live_server, threaded_server

ROWS = [
    {**TRACE, "id": "right", "metadata": {"row": 1}},
    {**TRACE, "id": "wrong", "completion": str(TRACE["completion"]).replace("boxed{42}", "boxed{41}")},
    {**TRACE, "id": "lost", "completion": None},
]
NAMES = ("id", "outcome_advantage", "episode_advantages", "answer_advantage", "scored")


def _numbers(paid: Any) -> list[tuple[object, ...]]:
    return [tuple(getattr(each, name) for name in NAMES) for [group] in [paid.groups] for each in group]


async def test_what_score_returns_is_a_group_of_advantages() -> None:
    async with live_server() as live, AsyncClient(live.url) as client:
        scored = await client.score(ROWS)
        paid = await client.advantages(groups=[scored])
        assert _numbers(paid) == _numbers(await client.advantages({"groups": [{"traces": ROWS}]}))
        [[right, _, lost]] = paid.groups
        assert (right.error, lost.outcome_advantage) == (None, None)
        assert lost.error is not None
        assert lost.error.param == "completion"
        alpha_0 = await client.advantages(groups=[scored], credit=CreditConfig(alpha=0.0))
        assert alpha_0.groups[0][0].episode_advantages == [alpha_0.groups[0][0].outcome_advantage] * 3


def test_so_it_is_for_code_that_is_not_asynchronous() -> None:
    with threaded_server() as url, Client(url) as client:
        ends = np.arange(1, len(str(TRACE["completion"])) + 1)
        group = {"traces": client.score(ROWS[:1]), "token_ends": [ends]}
        [[paid]] = client.advantages(groups=[group], per_token="list").groups
        assert isinstance(paid.token_advantages, list)
        assert len(paid.token_advantages) == len(ends)
        assert _numbers(client.advantages(groups=[client.score(ROWS)])) == _numbers(client.advantages(groups=[ROWS]))


def test_of_a_scored_trace_only_what_is_paid_travels() -> None:
    answer = SampledAnswer("long", Verdict.CORRECT, 1)
    scored = ScoredTrace("t", Status.OK, 1.0, (Value(0.5, answers=(answer,)),), metadata={"no JSON": object()})
    assert b"long" not in advantages_body(advantages_request([[scored]]))
    assert b"no JSON" not in advantages_body(advantages_request([[replace(scored, notes=("n",))]]))


@pytest.mark.parametrize(
    ("groups", "where"),
    [
        ([[Trace("t", problem="q", completion="c"), {"id": "u", "problem": 7}]], r"groups\.0\.traces\.1\.problem"),
        ([[], [{"id": "u"}]], r"groups\.0\.traces"),
        ([{"traces": [{"id": "u"}], "token_ends": [[1, True]]}], r"groups\.0\.token_ends\.0"),
        ([{"scored": [{"id": "u"}]}], "scored is traces now"),
        ([], "groups"),
    ],
)
def test_what_is_no_group_is_refused_before_it_is_sent(groups: Any, where: str) -> None:
    with pytest.raises(RequestRejected, match=where):
        advantages_body(advantages_request(groups))
