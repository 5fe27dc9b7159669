"""The protocol of OpenRLHF's remote reward, as its trainer speaks it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mrt_reward.errors import TraceError
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.openrlhf import to_traces
from mrt_reward.wire import GetRewardRequest
from tests.server.conftest import TRACE, VALUES, Live, live_server, post

CHAT = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n"


async def test_openrlhf_gets_one_number_per_query(live: Live) -> None:
    query = CHAT + str(TRACE["completion"]) + "<|im_end|>"
    body = {"query": [query, query], "prompts": [CHAT, "cut on the left" + CHAT], "labels": ["42", ["41", 42]]}
    reply = (await post(live, "/get_reward", body)).json()
    # r + α (J[K] - J[0]) = 1 + 0.75
    assert reply["rewards"] == pytest.approx([1.75, 1.75])
    assert reply["scores"] == [1.0, 1.0]
    assert reply["extra_logs"]["mrt_failed"] == [0.0, 0.0]
    assert reply["extra_logs"]["mrt_progress"] == pytest.approx([0.75, 0.75])


async def test_openrlhf_is_paid_the_posterior_where_the_server_says_so_and_sent_the_values() -> None:
    sampled = ScoreOptions(estimator=Rollouts("rollouts", num_samples=4))
    body = {"query": [CHAT + str(TRACE["completion"])], "prompts": [CHAT], "labels": ["42"]}
    async with live_server(paid_values="posterior", options=sampled) as live:
        reply = (await post(live, "/get_reward", body)).json()
        [scored] = (await post(live, "/v1/score", {"traces": [TRACE]})).json()["traces"]
    means = scored["posterior"]["means"]
    assert reply["rewards"] == pytest.approx([1 + means[-1] - means[0]])
    assert means[-1] - means[0] != pytest.approx(0.75)
    assert (reply["extra_logs"]["mrt_value_first"], reply["extra_logs"]["mrt_value_last"]) == ([0.25], [1.0])
    async with live_server(paid_values="posterior") as live:
        refused = await post(live, "/get_reward", body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "paid_values")


async def test_openrlhf_keeps_the_outcome_when_the_prover_fails() -> None:
    async with live_server(ScriptedProver(VALUES, fail_on="Wait")) as live:
        body = {"query": [CHAT + str(TRACE["completion"])], "prompts": [CHAT], "labels": ["42"]}
        reply = (await post(live, "/get_reward", body)).json()
    assert reply["rewards"] == reply["scores"] == [1.0]
    assert reply["extra_logs"]["mrt_failed"] == [1.0]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"query": ["Qa"], "prompts": ["x"], "labels": ["42"]}, 422),
        ({"query": ["Qa"], "prompts": [], "labels": ["42"]}, 422),
        ({"query": ["Q<think>a</think>"], "prompts": ["Q"], "labels": [None]}, 422),
        ({"query": ["Q<think>a</think>"], "prompts": ["Q"], "labels": [{"x": 1}]}, 422),
        ({"query": ["Q<think>a</think> ungraded"], "prompts": ["Q"], "labels": ["42"]}, 503),
    ],
)
async def test_openrlhf_is_sent_what_cannot_be_scored(live: Live, body: dict[str, Any], status: int) -> None:
    assert (await post(live, "/get_reward", body)).status_code == status


async def test_the_reason_is_in_the_log_because_openrlhf_throws_it_away(capsys: pytest.CaptureFixture[str]) -> None:
    async with live_server(log_format="json") as live:
        await post(live, "/get_reward", {"query": ["Qa"], "prompts": ["x"], "labels": ["42"]})
    [output] = [json.loads(line) for line in capsys.readouterr().err.splitlines() if "reward_refused" in line]
    assert output["param"] == "query.0"
    assert "the response was not found" in output["reason"]


def test_the_prompt_is_trusted_and_the_response_is_not() -> None:
    opener = "<\uff5cAssistant\uff5c>"
    body = GetRewardRequest(
        query=["Q: a</think>b<|im_end|>\n", f"cut {opener}\n<think>a", "x</s></s>"],
        prompts=["Q: ", f"left part cut {opener}", ""],
        labels=["1", 2, [3, "4", None]],
    )
    with pytest.raises(TraceError, match=r"query\.2: the response was not found"):
        to_traces(body, needs_answer=True)
    body.query[2], body.prompts[2] = "[INST] q [/INST]x</s></s>", "<s>[INST] q [/INST]"
    traces = to_traces(body, needs_answer=True)
    assert [trace.prompt for trace in traces] == ["Q: ", f"cut {opener}", "<s>[INST] q [/INST]"]
    assert [trace.completion for trace in traces] == ["a</think>b", "\n<think>a", "x"]
    assert [trace.answer for trace in traces] == [("1",), ("2",), ("3", "4")]


def test_a_refusal_names_every_query_that_has_no_number() -> None:
    body = GetRewardRequest(query=["Qa", "Qb", "Qc"], prompts=["Q", "x", "Q"], labels=["1", "2", {"gold": 3}])
    with pytest.raises(TraceError, match=r"^query\.1: .* \(and 1 more of 3 queries: labels\.2\)$"):
        to_traces(body, needs_answer=True)


async def test_every_reply_has_the_same_numeric_keys(live: Live) -> None:
    queries = [CHAT + str(TRACE["completion"]), CHAT.replace("<think>\n", "") + "no thinking, but 42"]
    body = {"query": queries, "prompts": [CHAT, CHAT.replace("<think>\n", "")], "labels": ["42", "42"]}
    logs = (await post(live, "/get_reward", body)).json()["extra_logs"]
    assert logs == {
        "mrt_failed": [0.0, 1.0],
        "mrt_progress": [pytest.approx(0.75), 0.0],
        "mrt_value_first": [pytest.approx(0.25), 0.0],
        "mrt_value_last": [pytest.approx(1.0), 0.0],
        "mrt_episodes": [3.0, 0.0],
    }
