"""Advantages spread over the caller's own tokens."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from mrt_reward.core.prefixes import token_spans
from mrt_reward.fields import encode_ids
from mrt_reward.types import Span
from tests.server.conftest import TRACE, Live, post


def test_a_cut_inside_a_token_moves_to_its_end() -> None:
    # Tokens end at 2, 5, 5 (an empty one), 9; cuts at 0, 2, 3, 4, 9.
    ends_T = np.array([2, 5, 5, 9], np.int32)
    spans = token_spans([Span(0, 2), Span(2, 3), Span(3, 4), Span(4, 9)], ends_T)
    assert spans == [Span(0, 1), Span(1, 2), Span(2, 2), Span(2, 4)]


def _scored(**changes: object) -> dict[str, Any]:
    # Four tokens of two characters; the thinking is [2, 6), in two episodes.
    spans = [{"char_start": 2, "char_end": 4}, {"char_start": 4, "char_end": 6}]
    return {"id": "a", "outcome": 1, "values": [0, 0.5, 0.25], "episodes": spans, **changes}


ENDS = encode_ids(np.array([2, 4, 6, 8], np.int32))


async def _paid(live: Live, group: dict[str, Any]) -> dict[str, Any]:
    reply = await post(live, "/v1/advantages", {"groups": [group], "per_token": True})
    return reply.json()["groups"][0][0]


async def test_tokens_get_their_episodes_advantage(live: Live) -> None:
    paid = await _paid(live, {"traces": [_scored()], "token_ends": [ENDS]})
    # A trace that is alone keeps r = 1; its episodes get 1 + 0.5 and 1 - 0.25.
    assert np.frombuffer(base64.b64decode(paid["token_advantages"]), "<f4").tolist() == [1.0, 1.5, 0.75, 1.0]
    assert paid["error"] is None


@pytest.mark.parametrize(
    ("changes", "ends", "param"),
    [
        ({}, [], "token_ends"),
        ({}, [encode_ids(np.array([4, 2], np.int32))], "token_ends"),
        ({"episodes": None}, [ENDS], "episodes"),
        ({"episodes": [{"char_start": 4, "char_end": 6}, {"char_start": 2, "char_end": 4}]}, [ENDS], "episodes"),
    ],
)
async def test_what_cannot_be_spread_is_reported(
    live: Live, changes: dict[str, Any], ends: list[str], param: str
) -> None:
    paid = await _paid(live, {"traces": [_scored(**changes)], "token_ends": ends})
    assert (paid["token_advantages"], paid["error"]["param"]) == (None, param)


async def test_traces_that_are_scored_here_are_spread_too(live: Live) -> None:
    num_chars = len(str(TRACE["completion"]))
    ends = encode_ids(np.arange(1, num_chars + 1, dtype=np.int32))
    paid = await _paid(live, {"traces": [TRACE], "token_ends": [ends]})
    advantage_T = np.frombuffer(base64.b64decode(paid["token_advantages"]), "<f4")
    assert len(advantage_T) == num_chars
    for episode, advantage in zip(paid["trace"]["episodes"], paid["episode_advantages"], strict=True):
        assert advantage_T[episode["char_start"] : episode["char_end"]] == pytest.approx(advantage)
    assert (await _paid(live, {"traces": [TRACE]}))["error"]["param"] == "token_ends"


async def test_a_bad_trace_of_a_group_is_masked_and_harms_no_other(live: Live) -> None:
    bad = {"id": "bad", "completion": "c"}
    body = {"groups": [{"traces": [TRACE, bad]}]}
    good, masked = (await post(live, "/v1/advantages", body)).json()["groups"][0]
    assert (good["outcome_advantage"], masked["outcome_advantage"]) == (1.0, None)
    assert masked["trace"]["error"]["param"] == "problem"


async def test_per_token_is_for_few_traces(live: Live) -> None:
    body = {"groups": [{"traces": [_scored(id=str(index)) for index in range(65)]}], "per_token": True}
    reply = await post(live, "/v1/advantages", body)
    assert reply.status_code == 422
    assert "at most 64 traces in all with per_token, got 65" in reply.json()["error"]["message"]
