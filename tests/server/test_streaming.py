"""Streams: each line is on the wire as soon as its trace is scored, and one that nobody reads stops the work."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from tests.server.conftest import TRACE, VALUES, Live, live_server

STREAM = {"accept": "application/x-ndjson"}


class Stepping(ScriptedProver):
    """Ends one proof each time it is let."""

    def __init__(self) -> None:
        super().__init__(VALUES)
        self.let = asyncio.Semaphore(0)

    async def prove(self, proof: Proof) -> Proven:
        proven = await super().prove(proof)
        await self.let.acquire()
        return proven


async def _first_line(live: Live, num_traces: int) -> None:
    traces = [{**TRACE, "id": str(index), "problem": str(index)} for index in range(num_traces)]
    async with (
        httpx.AsyncClient(base_url=live.url, timeout=20) as http,
        http.stream("POST", "/v1/score", json={"traces": traces}, headers=STREAM) as reply,
    ):
        assert reply.status_code == 200
        async for _ in reply.aiter_lines():
            return


async def test_a_hang_up_in_mid_stream_is_quiet_counted_and_stops_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    prover = ScriptedProver(VALUES, delay_s=0.2)
    async with live_server(prover, log_format="json") as live:
        await asyncio.gather(*(_first_line(live, 100) for _ in range(6)))
        for _ in range(1000):
            if not live.scorer.queue.queued_tokens:
                break
            await asyncio.sleep(0.01)
        assert prover.num_calls < 60
        metrics = (await live.http.get("/metrics")).text
        assert 'mrt_reward_requests_total{code="499",route="/v1/score"} 6.0' in metrics
        assert 'code="200",route="/v1/score"' not in metrics
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["status"] for event in events if event.get("route") == "/v1/score"] == [499] * 6
    assert {event["event"] for event in events} == {"serving", "request", "draining"}


async def test_a_stream_that_is_read_to_its_end_is_a_200(live: Live) -> None:
    traces = [{**TRACE, "id": str(index), "problem": str(index)} for index in range(5)]
    reply = await live.http.post("/v1/score", json={"traces": traces}, headers=STREAM)
    assert len(reply.text.splitlines()) == 5
    assert 'code="200",route="/v1/score"} 1.0' in (await live.http.get("/metrics")).text


async def test_of_20_proofs_on_one_slot_each_is_read_before_the_next_but_one_is_begun() -> None:
    prover = Stepping()
    body = {"traces": [{**TRACE, "id": str(index), "problem": f"Question {index}?"} for index in range(20)]}
    prover.let.release()
    async with (
        live_server(prover) as live,
        live.http.stream("POST", "/v1/score", json=body, headers=STREAM) as reply,
    ):
        index = 0
        async for line in reply.aiter_lines():
            assert json.loads(line)["trace"]["id"] == str(index)
            # The one that was read, and the one that runs.
            assert prover.num_calls <= index + 2
            index += 1
            prover.let.release()
        assert index == 20


async def test_hanging_up_in_the_middle_of_a_stream_stops_the_work() -> None:
    prover = Stepping()
    body = {"traces": [{**TRACE, "id": str(index), "problem": f"Question {index}?"} for index in range(20)]}
    prover.let.release()
    async with live_server(prover) as live:
        async with live.http.stream("POST", "/v1/score", json=body, headers=STREAM) as reply:
            await anext(reply.aiter_lines())
        for _ in range(1000):
            if not live.scorer.queue.queued_tokens:
                break
            await asyncio.sleep(0.01)
        assert live.scorer.queue.queued_tokens == 0
        assert prover.num_calls == 2
