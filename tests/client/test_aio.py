"""The client: coalescing, retries and typed errors, against the live server and against scripted replies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest

from mrt_reward.client import AsyncClient, Client, RetryPolicy
from mrt_reward.client.bodies import split, write_all
from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    GraderError,
    MRTRewardError,
    Overloaded,
    ProverUnavailable,
    RequestRejected,
    WireError,
)
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.types import Status, Trace
from mrt_reward.wire import read_trace
from tests.server.conftest import TRACE, VALUES, Live, live_server


@pytest.fixture
async def live() -> AsyncGenerator[Live]:
    async with live_server() as server:
        yield server


FAST = RetryPolicy(max_tries=3, base_s=0.001)
LINE = {
    "id": "0",
    "status": "ok",
    "outcome": 1.0,
    "values": [],
    "episodes": [],
    "prover": "m@1",
    "usage": {},
    "spellings": [],
    "warnings": [],
    "metadata": {},
    "error": None,
}


def _lines(*indices: int) -> bytes:
    return b"".join(
        json.dumps({"index": index, "trace": {**LINE, "id": str(index)}}).encode() + b"\n" for index in indices
    )


def _scripted(*replies: httpx.Response | Exception, **kwargs: Any) -> tuple[AsyncClient, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    left = list(replies)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        reply = left.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    kwargs = {"retry": FAST, **kwargs}
    client = AsyncClient("http://server/", transport=httpx.MockTransport(answer), **kwargs)
    return client, seen


def _error(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"error": {"message": "told", "type": "T", "code": code, "param": "p"}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): text for name, text in headers.items()})


async def test_traces_of_all_kinds_are_scored_in_order(live: Live) -> None:
    mapping = {key: value for key, value in TRACE.items() if key != "id"}
    record = read_trace({**TRACE, "id": "u"})
    async with AsyncClient(live.url) as client:
        scored = await client.score([mapping, record, {**TRACE, "id": "v"}])
        assert [trace.id for trace in scored] == ["0", "u", "v"]
        assert [trace.status for trace in scored] == [Status.OK] * 3
        assert await client.ready()
        assert (await client.prover()).engine == "scripted"
        options = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs", max_episodes=3))
        cut = await client.episodes([mapping, record], options)
        assert [len(trace.episodes) for trace in cut.traces] == [3, 3]
        paid = await client.advantages({"groups": [{"traces": [TRACE]}]})
        assert paid.groups[0][0].outcome_advantage == 1.0
        assert await client.score([]) == []


async def test_a_bad_trace_is_reported_at_its_index(live: Live) -> None:
    async with AsyncClient(live.url) as client:
        good, bad = await client.score([TRACE, Trace(id="bad", completion="c")])
    assert (good.status, bad.status, bad.error and bad.error.param) == (Status.OK, Status.ERROR, "problem")


async def test_concurrent_calls_become_few_requests_and_each_gets_its_own(live: Live) -> None:
    async with AsyncClient(live.url) as client:
        calls = [client.score([{**TRACE, "id": "same", "metadata": {"n": n}}]) for n in range(300)]
        results = await asyncio.gather(*calls)
    assert [scored.metadata["n"] for [scored] in results] == list(range(300))
    assert {scored.id for [scored] in results} == {"same"}
    metrics = (await live.http.get("/metrics")).text
    # 300 traces fill two requests of at most 256.
    assert 'mrt_reward_requests_total{code="200",route="/v1/score"} 2.0' in metrics


async def test_a_caller_that_leaves_harms_nobody_and_the_last_one_ends_the_request() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=0.3)) as live, AsyncClient(live.url) as client:
        leaving, staying = (asyncio.create_task(client.score([TRACE])) for _ in range(2))
        await asyncio.sleep(0.1)
        leaving.cancel()
        assert (await staying)[0].status is Status.OK
        alone = asyncio.create_task(client.score([{**TRACE, "problem": "another"}]))
        while not live.scorer.queue.queued_tokens:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        alone.cancel()
        while live.scorer.queue.queued_tokens:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        gone = asyncio.create_task(client.score([TRACE]))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0.05)


async def test_traces_come_as_they_finish(live: Live) -> None:
    async with AsyncClient(live.url) as client:
        found = {
            index: scored.id async for index, scored in client.stream([{**TRACE, "id": f"t{n}"} for n in range(3)])
        }
        stream = client.stream([TRACE])
        await anext(stream)
        await stream.aclose()
    assert found == {0: "t0", 1: "t1", 2: "t2"}


def test_large_calls_are_split() -> None:
    small = write_all([{"problem": "q", "completion": "c"}] * 300)
    assert [len(part) for part in split(small)] == [256, 44]
    # A line break is two bytes of JSON, so 2.5 million of them fill 5 of the 8 MB.
    big = write_all([{"problem": "q", "completion": "\n" * 2_500_000}] * 3)
    assert [len(part) for part in split(big)] == [1, 1, 1]


async def test_what_fails_for_a_while_is_asked_again_under_the_same_key() -> None:
    client, seen = _scripted(
        httpx.ReadError("reset"), _error(503, "draining", retry_after="0"), httpx.Response(200, content=_lines(0))
    )
    async with client:
        [scored] = await client.score([{**TRACE, "id": "mine"}])
    assert scored.id == "mine"
    assert len({request.headers["idempotency-key"] for request in seen}) == 1
    assert len({request.content for request in seen}) == 1
    assert all(int(request.headers["x-deadline-ms"]) <= 600_000 for request in seen)


async def test_a_stream_that_breaks_loses_nothing_and_repeats_nothing() -> None:
    client, seen = _scripted(httpx.Response(200, content=_lines(1)), httpx.Response(200, content=_lines(1, 0)))
    async with client:
        found = [index async for index, _ in client.stream([TRACE, {**TRACE, "id": "u"}])]
    assert (found, len(seen)) == ([1, 0], 2)


async def test_a_garbled_line_costs_no_other_trace_and_is_asked_for_again() -> None:
    client, seen = _scripted(
        httpx.Response(200, content=b'{"index": 0, "tra\n' + _lines(1)), httpx.Response(200, content=_lines(1, 0))
    )
    async with client:
        found = [index async for index, _ in client.stream([TRACE, {**TRACE, "id": "u"}])]
    assert (found, len(seen)) == ([1, 0], 2)


@pytest.mark.parametrize(
    ("reply", "kind", "num_tries"),
    [
        (lambda: _error(429, "overloaded"), Overloaded, 3),
        (lambda: _error(503, "draining"), Draining, 3),
        (lambda: _error(503, "prover_unavailable", retry_after="0"), ProverUnavailable, 3),
        (lambda: _error(503, "grader_failed", retry_after="0"), GraderError, 3),
        (lambda: _error(504, "deadline_exceeded"), DeadlineExceeded, 3),
        (lambda: _error(422, "invalid_request"), RequestRejected, 1),
        (lambda: httpx.Response(404, text="nothing here"), RequestRejected, 1),
        (lambda: httpx.Response(502, text="bad gateway"), WireError, 3),
        (lambda: httpx.Response(200, content=b"{}\n"), WireError, 3),
        (lambda: httpx.ConnectError("refused"), WireError, 3),
        (lambda: httpx.ReadTimeout("slow"), DeadlineExceeded, 3),
        (lambda: httpx.InvalidURL("no"), RequestRejected, 1),
    ],
)
async def test_failures_are_typed_errors(
    reply: Callable[[], httpx.Response | Exception], kind: type[MRTRewardError], num_tries: int
) -> None:
    policy = RetryPolicy(max_tries=3, base_s=0.001, max_wait_s=0.002)
    for ask in (lambda client: client.score([TRACE]), lambda client: client.prover()):
        client, seen = _scripted(*(reply() for _ in range(3)), retry=policy)
        async with client:
            with pytest.raises(kind) as caught:
                await ask(client)
        assert type(caught.value) is kind
        assert len(seen) == num_tries


async def test_no_server_says_how_to_start_one() -> None:
    async with AsyncClient("http://127.0.0.1:9", retry=RetryPolicy(max_tries=1)) as client:
        with pytest.raises(WireError, match="start one with `mrt-reward serve`"):
            await client.score([TRACE])
        assert not await client.ready()


async def test_waits_end_with_the_callers_time() -> None:
    client, seen = _scripted(*(_error(429, "overloaded", retry_after="9") for _ in range(3)), timeout_s=0.5)
    async with client:
        with pytest.raises(Overloaded):
            await client.prover()
    assert len(seen) == 1
    async with live_server(ScriptedProver(VALUES, delay_s=30)) as live, AsyncClient(live.url, timeout_s=0.3) as client:
        with pytest.raises(DeadlineExceeded):
            await client.score([TRACE, {**TRACE, "id": "u"}])


async def test_what_is_no_trace_is_refused_before_it_is_sent() -> None:
    client, seen = _scripted()
    async with client:
        with pytest.raises(RequestRejected, match=r"traces\.1\.colour"):
            await client.score([TRACE, {**TRACE, "colour": 1}])
        with pytest.raises(RequestRejected, match="groups"):
            await client.advantages({"groups": []})
    assert not seen


async def test_closing_fails_what_still_waits() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=30)) as live:
        client = AsyncClient(live.url)
        sent = asyncio.create_task(client.score([TRACE]))
        await asyncio.sleep(0.1)
        unsent = asyncio.create_task(client.score([{**TRACE, "id": "u"}]))
        await asyncio.sleep(0)
        await client.close()
        for call in (sent, unsent):
            with pytest.raises(WireError, match="closed"):
                await call


async def test_the_synchronous_face_does_the_same(live: Live) -> None:
    def use() -> None:
        with Client(live.url) as client:
            assert client.ready()
            assert client.score([TRACE])[0].status is Status.OK
            assert [index for index, _ in client.stream([TRACE, {**TRACE, "id": "u"}])] != []
            for _ in client.stream([TRACE]):
                break
            assert client.prover().graders == ["word"]
            assert client.episodes([TRACE]).traces[0].id == "t"
            assert client.advantages({"groups": [{"traces": [TRACE]}]}).groups[0][0].scored
            with pytest.raises(RequestRejected):
                client.score([{"colour": 1}])
        client.close()

    await asyncio.to_thread(use)
    with pytest.raises(TypeError):
        Client(live.url, nonsense=1)
