"""Streams: each line is on the wire as soon as its trace is scored, and one that nobody reads stops the work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from mrt_reward.errors import GraderError
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.calls import Caller
from mrt_reward.server.gate.waiting import CallerGone, Stopping
from mrt_reward.server.streaming import ScoreStream
from mrt_reward.types import ScoredTrace, Status, Trace
from tests.server.conftest import TRACE, VALUES, Live, live_server, post
from tests.server.gate.sending import Sending

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


class Results:
    """Gives these results, then raises or waits for ever; notes whether it was closed."""

    def __init__(self, *indices: int, error: Exception | None = None) -> None:
        self.closed = False
        self._indices, self._error = indices, error

    async def __call__(self) -> AsyncGenerator[tuple[int, ScoredTrace]]:
        try:
            for index in self._indices:
                yield index, ScoredTrace(str(index), Status.OK, notes=("a note",))
            if self._error is None:
                await asyncio.Event().wait()
            else:
                raise self._error
        finally:
            self.closed = True


class Replied(Sending):
    """The lines of a reply."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for message in self.messages[1:] for line in message["body"].splitlines()]


ASKED = [Trace(str(index), problem="q", completion="c", metadata={"row": index}) for index in range(4)]


async def _streamed(results: Results, sending: Sending, seconds: float = 3600, *, leaves: bool = False) -> None:
    app = FastAPI()
    app.state.stopping = Stopping()

    async def receive() -> Message:
        while not (leaves and sending.messages):  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    scope = {"type": "http", "headers": [], "app": app}
    caller = Caller(Request(scope, receive), seconds)
    await ScoreStream(results(), ASKED, caller)(scope, receive, sending)


async def test_an_error_in_mid_stream_is_reported_by_one_line_for_each_trace_that_has_none() -> None:
    results, sending = Results(2, 0, error=GraderError("the grader died")), Replied()
    await _streamed(results, sending)
    assert (sending.status, sending.headers) == (200, {"content-type": "application/x-ndjson"})
    lines = sending.lines
    assert [line["index"] for line in lines] == [2, 0, 1, 3]
    assert [line["notes"] for line in lines] == [["a note"], [], [], []]
    assert [line["trace"]["error"] and line["trace"]["error"]["message"] for line in lines] == [
        None,
        None,
        "the grader died",
        "the grader died",
    ]
    assert [line["trace"]["metadata"] for line in lines[2:]] == [{"row": 1}, {"row": 3}]
    assert not sending.messages[-1]["more_body"]
    assert results.closed


async def test_a_deadline_in_mid_stream_is_reported_the_same_way_and_stops_the_work() -> None:
    results, sending = Results(1), Replied()
    await _streamed(results, sending, 0.05)
    assert [line["index"] for line in sending.lines] == [1, 0, 2, 3]
    assert {line["trace"]["error"]["code"] for line in sending.lines[1:]} == {"deadline_exceeded"}
    assert results.closed


async def test_an_error_before_the_first_result_is_raised_before_anything_is_sent() -> None:
    sending = Sending()
    with pytest.raises(GraderError):
        await _streamed(Results(error=GraderError("no")), sending)
    assert sending.messages == []


async def test_a_caller_who_leaves_stops_the_work_and_gets_no_more_lines() -> None:
    results, sending = Results(0), Replied()
    with pytest.raises(CallerGone):
        await _streamed(results, sending, leaves=True)
    assert [line["index"] for line in sending.lines] == [0]
    assert sending.messages[-1]["more_body"]
    assert results.closed


async def test_a_bug_in_mid_stream_breaks_the_reply() -> None:
    sending = Replied()
    with pytest.raises(ZeroDivisionError):
        await _streamed(Results(0, error=ZeroDivisionError()), sending)
    assert sending.messages[-1]["more_body"]


async def test_a_full_queue_and_a_drain_keep_their_status_in_a_stream(live: Live) -> None:
    live.scorer.queue.max_queue_tokens = 1
    with live.scorer.queue.admitted(1):
        full = await post(live, "/v1/score", {"traces": [TRACE]}, **STREAM)
    await live.scorer.drain()
    drained = await post(live, "/v1/score", {"traces": [TRACE]}, **STREAM)
    assert [(each.status_code, each.json()["error"]["code"]) for each in (full, drained)] == [
        (429, "overloaded"),
        (503, "draining"),
    ]
    assert full.headers["retry-after"]
