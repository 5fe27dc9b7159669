from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

from mrt_reward.provers.scripted import ScriptedProver
from tests.server.conftest import TRACE, VALUES, Live, live_server


def post(live: Live, path: str, body: object, **headers: str) -> Any:  # an awaitable response
    return live.http.post(path, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


async def test_a_trace_is_scored(live: Live) -> None:
    reply = await post(live, "/v1/score", {"traces": [TRACE]})
    assert reply.status_code == 200
    [trace] = reply.json()["traces"]
    assert [value["value"] for value in trace["values"]] == pytest.approx(VALUES)
    assert [episode["progress"] for episode in trace["episodes"]] == pytest.approx([0.25, 0.0, 0.5])
    assert trace["outcome"] == 1.0
    assert trace["error"] is None


async def test_streamed_traces_come_one_per_line_with_their_place(live: Live) -> None:
    body = {"traces": [TRACE, {**TRACE, "id": "u", "completion": "No thinking", "problem": None, "prompt": "Q"}]}
    reply = await post(live, "/v1/score", body, accept="application/x-ndjson")
    assert reply.headers["content-type"] == "application/x-ndjson"
    lines = sorted((json.loads(line) for line in reply.text.splitlines()), key=lambda line: line["index"])
    assert [line["trace"]["status"] for line in lines] == ["ok", "error"]
    assert lines[1]["trace"]["error"]["param"] == "completion"


async def test_options_choose_the_segmenter(live: Live) -> None:
    body = {"traces": [TRACE], "options": {"segmenter": {"kind": "paragraphs", "max_episodes": 3}}}
    reply = await post(live, "/v1/episodes", body)
    assert len(reply.json()["traces"][0]["episodes"]) == 3


async def test_segmentation_reports_what_it_cannot_cut(live: Live) -> None:
    body = {"traces": [{**TRACE, "problem": None, "prompt": "Q", "completion": "plain"}]}
    reply = await post(live, "/v1/episodes", body)
    assert reply.json()["traces"][0]["error"]["code"] == "no_thinking"


async def test_groups_become_advantages(live: Live) -> None:
    body = {
        "groups": [
            {"traces": [TRACE]},
            {"scored": [{"outcome": 1, "values": [0.1, 0.4]}, {"outcome": 0, "values": []}]},
        ],
        "credit": {"scale_by_std": False},
    }
    first, second = (await post(live, "/v1/advantages", body)).json()["groups"]
    assert first[0]["episodes"] == pytest.approx([1.25, 1.0, 1.5])
    assert first[0]["trace"]["id"] == "t"
    assert second[0]["episodes"] == pytest.approx([0.5 + 0.3])
    assert second[1] == {"id": "", "outcome": -0.5, "episodes": [], "answer": -0.5, "scored": False, "trace": None}


async def test_a_group_is_scored_or_not(live: Live) -> None:
    reply = await post(live, "/v1/advantages", {"groups": [{}]})
    assert reply.status_code == 422
    assert reply.json()["error"]["param"].startswith("groups.0")


CHAT = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\n"


async def test_openrlhf_gets_one_number_per_query(live: Live) -> None:
    query = CHAT + str(TRACE["completion"]) + "<|im_end|>"
    body = {"query": [query, query], "prompts": [CHAT, "cut on the left"], "labels": ["42", ["41", 42]]}
    reply = (await post(live, "/get_reward", body)).json()
    # r + α (J[K] - J[0]) = 1 + 0.75
    assert reply["rewards"] == pytest.approx([1.75, 1.75])
    assert reply["scores"] == [1.0, 1.0]
    assert reply["extra_logs"]["mrt_failed"] == [0.0, 0.0]
    assert reply["extra_logs"]["mrt_progress"] == pytest.approx([0.75, 0.75])


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
        ({"query": ["Q<think>a</think>"], "prompts": ["Q"], "labels": [None]}, 503),
    ],
)
async def test_openrlhf_is_told_what_cannot_be_scored(live: Live, body: dict[str, Any], status: int) -> None:
    assert (await post(live, "/get_reward", body)).status_code == status


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"{", 400, "not JSON"),
        (b"", 422, "body"),
        (b"\xff\xfe\x00", 400, "not JSON"),
        (b"[" * 100_000, 400, "deeply"),
        (b'{"traces": []}', 422, "traces"),
        (b'{"traces": [{"problem": "q"}]}', 422, "completion"),
        (b'{"traces": [{"completion": "c"}]}', 422, "problem"),
        (b'{"traces": [{"problem": 1, "completion": "c"}]}', 422, "traces.0.problem"),
        (b'{"traces": [{"problem": "q", "completion": "c", "colour": 1}]}', 422, "traces.0.colour"),
        (b'{"traces": [{"problem": "q", "completion": "\\ud800"}]}', 400, "surrogate"),
        (b'{"traces": [{"problem": "q", "completion": "c", "outcome": NaN}]}', 400, "NaN"),
        (b'{"traces": [{"problem": "q", "completion": "c", "metadata": {"x": 1e999}}]}', 400, "too large"),
        (b'{"traces": [{"problem": "q", "completion_ids": "AAA"}]}', 422, "completion_ids"),
        (b'{"traces": [{"problem": "q", "completion_ids": "AAAA"}]}', 422, "completion_ids"),
        (b'{"traces": [{"problem": "q", "completion": "c"}], "options": {"grader": "nobody"}}', 422, "nobody"),
        (
            b'{"traces": [{"problem": "q", "completion": "c"}], "options": {"estimator": {"kind": "guess"}}}',
            422,
            "guess",
        ),
    ],
)
async def test_bad_input_is_told_its_field_and_harms_nobody(live: Live, content: bytes, status: int, told: str) -> None:
    reply = await live.http.post("/v1/score", content=content, headers={"content-type": "application/json"})
    assert (reply.status_code, told in reply.text) == (status, True), reply.text
    assert set(reply.json()["error"]) == {"message", "type", "code", "param"}
    assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 200


async def test_unknown_routes_and_methods_have_the_same_shape(live: Live) -> None:
    for reply in (await live.http.get("/nowhere"), await live.http.get("/v1/score")):
        assert reply.json()["error"]["type"] == "HTTPError"
        assert reply.headers["x-request-id"]


async def test_the_body_is_bounded_also_when_compressed() -> None:
    async with live_server(max_body_mb=0.01) as live:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        assert (await live.http.post("/v1/score", content=b" " * 20_000)).status_code == 413
        bomb = gzip.compress(b" " * 50_000_000)
        assert (await live.http.post("/v1/score", content=bomb, headers=headers)).status_code == 413
        small = gzip.compress(json.dumps({"traces": [TRACE]}).encode())
        assert (await live.http.post("/v1/score", content=small, headers=headers)).status_code == 200
        assert (await live.http.post("/v1/score", content=b"x", headers=headers)).status_code == 400
        headers["content-encoding"] = "br"
        assert (await live.http.post("/v1/score", content=b"x", headers=headers)).status_code == 400


async def test_the_api_key_guards_all_but_the_probes() -> None:
    async with live_server(api_key="secret") as live:
        assert (await live.http.get("/v1/prover")).status_code == 401
        assert (await live.http.get("/v1/prover", headers={"authorization": "Bearer wrong"})).status_code == 401
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
        assert live.scorer.batcher.queued_tokens == 0
        assert (await post(live, "/v1/score", {"traces": [TRACE]}, x_deadline_ms="soon")).status_code == 400


async def test_a_stream_that_runs_late_tells_each_trace_that_is_left() -> None:
    class Slowing(ScriptedProver):
        @property
        def max_batch_tokens(self) -> int:
            return 1

        async def prove(self, proofs: Any) -> Any:
            if self.num_calls:
                await asyncio.sleep(5)
            return await super().prove(proofs)

    async with live_server(Slowing(VALUES)) as live:
        other = {**TRACE, "id": "u", "problem": "another", "metadata": {"kept": 1}}
        body = {"traces": [TRACE, other]}
        reply = await post(live, "/v1/score", body, accept="application/x-ndjson", x_deadline_ms="500")
    lines = [json.loads(line)["trace"] for line in reply.text.splitlines()]
    assert [line["status"] for line in lines] == ["ok", "error"]
    assert lines[1]["error"]["code"] == "deadline_exceeded"
    assert lines[1]["metadata"] == {"kept": 1}


async def test_a_caller_that_hangs_up_costs_nothing_more() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=30)) as live:
        with pytest.raises(httpx.ReadTimeout):
            await live.http.post("/v1/score", json={"traces": [TRACE]}, timeout=0.2)
        for _ in range(200):
            if not live.scorer.batcher.queued_tokens:
                return
            await asyncio.sleep(0.01)
        pytest.fail("the prover still works for nobody")


async def test_a_full_queue_says_when_to_come_again() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=1)) as live:
        live.scorer.batcher._max_queue_tokens = 10  # pyright: ignore[reportPrivateUsage]
        first = asyncio.create_task(post(live, "/v1/score", {"traces": [TRACE]}))
        while live.scorer.batcher.queued_tokens < 10:  # noqa: ASYNC110 - another task's state
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


async def test_our_own_bug_is_told_in_short(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(live.scorer), "segment", _broken)
    reply = await post(live, "/v1/episodes", {"traces": [TRACE]})
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "internal error (ZeroDivisionError)"
