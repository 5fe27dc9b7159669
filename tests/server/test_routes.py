from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.prompting import BARE_CLOSE
from mrt_reward.wire import AdvantagesResponse, ScoreResponse
from tests.server.conftest import TRACE, VALUES, Live, live_server, post


async def test_a_trace_is_scored(live: Live) -> None:
    reply = await post(live, "/v1/score", {"traces": [TRACE]})
    assert reply.status_code == 200
    [trace] = reply.json()["traces"]
    assert [value["value"] for value in trace["values"]] == pytest.approx(VALUES)
    assert [episode["progress"] for episode in trace["episodes"]] == pytest.approx([0.25, 0.0, 0.5])
    assert trace["outcome"] == 1.0
    assert trace["error"] is None


async def test_streamed_traces_come_one_per_line_with_their_index(live: Live) -> None:
    body = {"traces": [TRACE, {**TRACE, "id": "u", "completion": "No thinking", "problem": None, "prompt": "Q"}]}
    reply = await post(live, "/v1/score", body, accept="application/x-ndjson")
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = sorted((json.loads(line) for line in reply.text.splitlines()), key=lambda line: line["index"])
    assert [line["trace"]["status"] for line in lines] == ["ok", "error"]
    assert lines[1]["trace"]["error"]["param"] == "completion"


async def test_a_reply_is_its_record_as_it_is_written_in_one_go(live: Live) -> None:
    traces = [{**TRACE, "id": "[]", "metadata": {"list": []}}, {**TRACE, "id": "b", "completion": None}]
    scored = await post(live, "/v1/score", {"traces": traces})
    assert scored.text == ScoreResponse.model_validate_json(scored.text).model_dump_json()
    assert len(scored.json()["traces"]) == 2
    sent = {"traces": [{"id": "s", "outcome": 1, "values": [0.1, 0.4]}]}
    paid = await post(live, "/v1/advantages", {"groups": [{"traces": traces}, sent]})
    assert paid.text == AdvantagesResponse.model_validate_json(paid.text).model_dump_json()
    assert [len(group) for group in paid.json()["groups"]] == [2, 1]


async def test_options_choose_the_segmenter(live: Live) -> None:
    body = {"traces": [TRACE], "options": {"segmenter": {"kind": "paragraphs", "max_episodes": 3}}}
    reply = await post(live, "/v1/episodes", body)
    assert len(reply.json()["traces"][0]["episodes"]) == 3


async def test_the_default_segmenter_is_balanced_and_called_by_its_name(live: Live) -> None:
    long = {**TRACE, "completion": "Then x grows by one. " * 50 + "</think>42"}
    chosen = {"kind": "balanced", "markers": ["Hm"], "max_episodes": 3}
    whole, fewer = [
        (await post(live, "/v1/episodes", {"traces": [long], **given})).json()["traces"][0]["episodes"]
        for given in ({}, {"options": {"segmenter": chosen}})
    ]
    assert 4 <= len(whole) <= 8
    assert len(fewer) == 2
    refused = await post(
        live, "/v1/episodes", {"traces": [long], "options": {"segmenter": {**chosen, "min_chars": 200}}}
    )
    assert refused.status_code == 422
    assert "at least twice min_chars" in refused.json()["error"]["message"]


async def test_segmentation_reports_what_it_cannot_cut(live: Live) -> None:
    body = {"traces": [{**TRACE, "problem": None, "prompt": "Q", "completion": "plain"}]}
    reply = await post(live, "/v1/episodes", body)
    assert reply.json()["traces"][0]["error"]["code"] == "no_thinking"


async def test_groups_become_advantages(live: Live) -> None:
    body = {
        "groups": [
            {"traces": [TRACE]},
            {"traces": [{"id": "a", "outcome": 1, "values": [0.1, 0.4]}, {"id": "b", "outcome": 0, "values": []}]},
        ],
        "credit": {"scale_by_std": False},
    }
    first, second = (await post(live, "/v1/advantages", body)).json()["groups"]
    assert first[0]["episode_advantages"] == pytest.approx([1.25, 1.0, 1.5])
    assert first[0]["trace"]["id"] == "t"
    assert second[0]["episode_advantages"] == pytest.approx([0.5 + 0.3])
    assert second[1] == {
        "id": "b",
        "outcome_advantage": -0.5,
        "episode_advantages": [],
        "answer_advantage": -0.5,
        "closing_advantage": -0.5,
        "ending_bonuses": [],
        "scored": False,
        "token_advantages": None,
        "trace": None,
        "error": None,
    }


async def test_a_group_is_scored_or_not(live: Live) -> None:
    reply = await post(live, "/v1/advantages", {"groups": [{}]})
    assert reply.status_code == 422
    assert reply.json()["error"]["param"].startswith("groups.0")


async def test_the_api_key_guards_all_but_the_probes() -> None:
    async with live_server(api_key="secret") as live:
        for sent, said in (("", "no key came"), ("Bearer wrong", "is not known"), ("Basic secret", "holds no key")):
            refused = await live.http.get("/v1/prover", headers={"authorization": sent} if sent else {})
            assert (refused.status_code, said in refused.json()["error"]["message"]) == (401, True)
        assert (await live.http.get("/v1/prover", headers={"authorization": "Bearer secret"})).status_code == 200
        for path in ("/livez", "/readyz", "/metrics", "/version"):
            assert (await live.http.get(path)).status_code == 200


async def test_the_server_says_who_proves_and_how_it_fares(live: Live) -> None:
    prover = (await live.http.get("/v1/prover")).json()
    assert (prover["engine"], prover["graders"]) == ("scripted", ["word"])
    await post(live, "/v1/score", {"traces": [TRACE]}, x_request_id="abc")
    metrics = (await live.http.get("/metrics")).text
    assert 'mrt_reward_requests_total{code="200",route="/v1/score"} 1.0' in metrics
    assert 'mrt_reward_items_total{outcome="ok"} 1.0' in metrics
    assert "mrt_reward_queue_tokens 0.0" in metrics


async def test_golds_that_no_model_is_likely_to_write_are_reported_and_counted(live: Live) -> None:
    prose = {**TRACE, "id": "odd", "answer": "we add them up and find forty-two"}
    options = {"estimator": {"kind": "likelihood"}}
    reply = (await post(live, "/v1/score", {"traces": [prose, TRACE], "options": options})).json()["traces"]
    assert [any("no model is likely to write" in message for message in trace["warnings"]) for trace in reply] == [
        True,
        False,
    ]
    assert "mrt_reward_odd_golds_total 1.0" in (await live.http.get("/metrics")).text


async def test_readiness_follows_the_prover(live: Live) -> None:
    live.prover.unavailable = True
    assert (await live.http.get("/livez")).status_code == 200
    reply = await live.http.get("/readyz")
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
async def test_a_deadline_is_kept(accept: str) -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=5)) as live:
        reply = await post(live, "/v1/score", {"traces": [TRACE]}, x_deadline_ms="50", accept=accept)
        assert reply.status_code == 504
        assert reply.json()["error"]["code"] == "deadline_exceeded"
        assert live.scorer.queue.queued_tokens == 0
        assert (await post(live, "/v1/score", {"traces": [TRACE]}, x_deadline_ms="soon")).status_code == 400


async def test_a_stream_that_runs_late_tells_each_trace_that_is_left() -> None:
    class Slowing(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            if self.num_calls:
                await asyncio.sleep(60)
            return await super().prove(proof)

    async with live_server(Slowing(VALUES)) as live:
        other = {**TRACE, "id": "u", "problem": "another", "metadata": {"kept": 1}}
        body = {"traces": [TRACE, other]}
        reply = await post(live, "/v1/score", body, accept="application/x-ndjson", x_deadline_ms="3000")
    lines = [json.loads(line)["trace"] for line in reply.text.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error"]
    assert lines[1]["error"]["code"] == "deadline_exceeded"
    assert lines[1]["metadata"] == {"kept": 1}


async def test_a_caller_that_hangs_up_costs_nothing_more() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=30)) as live:
        with pytest.raises(httpx.ReadTimeout):
            await live.http.post("/v1/score", json={"traces": [TRACE]}, timeout=0.2)
        for _ in range(200):
            if not live.scorer.queue.queued_tokens:
                return
            await asyncio.sleep(0.01)
        pytest.fail("the prover still works for nobody")


async def test_a_full_queue_says_when_to_come_again() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=1)) as live:
        live.scorer.queue.max_queue_tokens = 10
        first = asyncio.create_task(post(live, "/v1/score", {"traces": [TRACE]}))
        while live.scorer.queue.queued_tokens < 10:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        refused = await post(live, "/v1/score", {"traces": [{**TRACE, "problem": "other"}]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert (await first).status_code == 200


async def test_stopping_finishes_what_is_in_flight() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=1)) as live:
        running = asyncio.create_task(post(live, "/v1/score", {"traces": [TRACE]}))
        while not live.prover.num_calls:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        live.task.cancel()
        await asyncio.sleep(0.05)
        assert (await live.http.get("/readyz")).status_code == 503
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).json()["error"]["code"] == "draining"
        assert (await running).status_code == 200


def _broken(*_: object) -> None:
    raise ZeroDivisionError


async def test_our_own_bug_is_reported_in_short(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(live.scorer), "segment", _broken)
    reply = await post(live, "/v1/episodes", {"traces": [TRACE]})
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "internal error (ZeroDivisionError)"


NO_THINK = {**TRACE, "problem": None, "prompt": "<|im_start|>assistant\n</think>", "completion": "<think>a</think>42"}


async def test_what_holds_for_all_traces_is_said_once_a_reply(live: Live) -> None:
    traces = [{**NO_THINK, "id": str(index)} for index in range(3)]
    notes = [live.prover.info.note, BARE_CLOSE]
    whole = (await post(live, "/v1/score", {"traces": traces})).json()
    assert (whole["notes"], [trace["warnings"] for trace in whole["traces"]]) == (notes, [[], [], []])
    lines = (await post(live, "/v1/score", {"traces": traces}, accept="application/x-ndjson")).text.splitlines()
    assert [json.loads(line)["notes"] for line in lines] == [notes, [], []]
    assert (await post(live, "/v1/advantages", {"groups": [{"traces": traces}]})).json()["notes"] == notes
    assert (await post(live, "/v1/episodes", {"traces": traces})).json()["notes"] == [BARE_CLOSE]
    assert (await post(live, "/v1/episodes", {"traces": [TRACE]})).json()["notes"] == []


PAID = ("outcome_advantage", "episode_advantages", "answer_advantage")


async def test_a_trace_whose_outcome_is_unknown_moves_nobody_of_its_group(live: Live) -> None:
    right, wrong = {**TRACE, "id": "a"}, {**TRACE, "id": "b", "completion": "<think>x</think>41"}
    foreign = {"id": "c", "problem": "6 times 7?", "answer": "42", "completion_ids": "AQAAAA==", "tokenizer": "other"}
    alone = (await post(live, "/v1/advantages", {"groups": [{"traces": [right, wrong]}]})).json()["groups"][0]
    beside = (await post(live, "/v1/advantages", {"groups": [{"traces": [right, wrong, foreign]}]})).json()["groups"][0]
    paid = [tuple(each[name] for name in PAID) for each in beside]
    assert paid[:2] == [tuple(each[name] for name in PAID) for each in alone]
    assert paid[2] == (None, [], None)
    assert beside[2]["trace"]["outcome"] is None
