from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import httpx
import pytest

from mrt_reward import AsyncClient, Client
from mrt_reward.client import RetryPolicy
from mrt_reward.errors import DeadlineExceeded, Draining, Overloaded, RequestRejected, WireError
from mrt_reward.options import ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.types import Status
from tests.server.conftest import TRACE, VALUES, live_server
from tests.service.conftest import make_trace

QUICK = RetryPolicy(max_tries=3, base_s=0.001, max_wait_s=0.01)
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, **kwargs: object) -> AsyncClient:
    return AsyncClient("http://test", retry=QUICK, transport=httpx.MockTransport(handler), **kwargs)  # type: ignore[arg-type]


def reply_to(request: httpx.Request) -> httpx.Response:
    """Every trace scored, with nothing in it."""
    empty = {"status": "ok", "outcome": None, "values": [], "episodes": [], "prover": None, "spellings": []}
    empty |= {"warnings": [], "metadata": {}, "error": None, "usage": {}}
    traces = [{**empty, "id": trace["id"]} for trace in json.loads(request.content)["traces"]]
    return httpx.Response(200, json={"traces": traces})


def replies(*given: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """These replies in turn, then a good one."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if len(seen) > len(given):
            return reply_to(request)
        answer = given[len(seen) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handler, seen


async def test_traces_of_all_kinds_are_scored_by_a_live_server() -> None:
    async with live_server() as live, AsyncClient(live.url) as client:
        scored = await client.score([TRACE, make_trace("record")])
        assert [trace.id for trace in scored] == ["t", "record"]
        assert [value.value for value in scored[0].values] == pytest.approx(VALUES)
        assert (await client.prover()).engine == "scripted"
        assert len((await client.episodes([TRACE])).traces[0].episodes) == 3
        [[paid]] = (await client.advantages({"groups": [{"traces": [TRACE]}]})).groups
        assert paid.scored


async def test_many_single_calls_become_few_requests() -> None:
    async with live_server() as live, AsyncClient(live.url) as client:
        calls = [client.score([{**TRACE, "id": str(index), "group": "g"}]) for index in range(300)]
        scored = await asyncio.gather(*calls)
        assert [traces[0].id for traces in scored] == [str(index) for index in range(300)]
        metrics = (await live.http.get("/metrics")).text
    assert 'mrt_reward_requests_total{code="200",route="/v1/score"} 2.0' in metrics


async def test_calls_with_other_options_do_not_mix() -> None:
    handler, seen = replies()
    async with client_of(handler) as client:
        await asyncio.gather(
            client.score([TRACE]), client.score([TRACE], ScoreOptions(terminator="official")), client.score([TRACE])
        )
    assert sorted(len(json.loads(request.content)["traces"]) for request in seen) == [1, 2]


async def test_a_caller_that_leaves_harms_nobody() -> None:
    handler, seen = replies()
    async with client_of(handler) as client:
        stays, leaves = asyncio.create_task(client.score([TRACE])), asyncio.create_task(client.score([TRACE]))
        await asyncio.sleep(0)
        leaves.cancel()
        assert (await stays)[0].status is Status.OK
    assert len(json.loads(seen[0].content)["traces"]) == 1


async def test_large_lists_are_split() -> None:
    handler, seen = replies()
    async with client_of(handler) as client:
        scored = await client.score([{**TRACE, "id": str(index)} for index in range(600)])
        assert [trace.id for trace in scored] == [str(index) for index in range(600)]
        long = {**TRACE, "completion": "a" * 5_000_000}
        await client.score([long, long])
    assert len(seen) == 3 + 2


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(503, json={"error": {"message": "m", "type": "t", "code": "c"}}, headers={"retry-after": "1"}),
        httpx.Response(429, text="busy"),
        httpx.Response(502),
        httpx.Response(200, text="not json"),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("late"),
        httpx.RemoteProtocolError("cut"),
    ],
)
async def test_what_may_pass_is_tried_again(failure: httpx.Response | Exception) -> None:
    handler, seen = replies(failure, failure)
    async with client_of(handler) as client:
        assert (await client.score([TRACE]))[0].status is Status.OK
    assert len(seen) == 3
    assert len({request.headers["idempotency-key"] for request in seen}) == 1


@pytest.mark.parametrize(
    ("failure", "kind", "told"),
    [
        (httpx.Response(429), Overloaded, "429"),
        (httpx.Response(503), Draining, "503"),
        (httpx.Response(504), DeadlineExceeded, "504"),
        (httpx.Response(500, text="boom"), WireError, "boom"),
        (httpx.ConnectError("refused"), WireError, "mrt-reward serve"),
        (httpx.ReadTimeout("late"), DeadlineExceeded, "no reply"),
    ],
)
async def test_what_lasts_is_a_typed_error(
    failure: httpx.Response | Exception, kind: type[Exception], told: str
) -> None:
    handler, seen = replies(failure, failure, failure)
    async with client_of(handler) as client:
        with pytest.raises(kind, match=told):
            await client.score([TRACE])
    assert len(seen) == 3


async def test_a_refusal_is_not_sent_again() -> None:
    body = {"error": {"message": "traces.0.x: no", "type": "t", "code": "c", "param": "traces.0.x"}}
    handler, seen = replies(httpx.Response(422, json=body))
    async with client_of(handler) as client:
        with pytest.raises(RequestRejected, match=r"traces\.0\.x") as refused:
            await client.score([TRACE])
    assert refused.value.param == "traces.0.x"
    assert len(seen) == 1


async def test_a_reply_of_other_length_is_refused() -> None:
    async with client_of(lambda _: httpx.Response(200, json={"traces": []})) as client:
        with pytest.raises(WireError, match="expected 1 traces"):
            await client.score([TRACE])


async def test_closing_ends_what_waits() -> None:
    client = client_of(reply_to)
    waiting = asyncio.create_task(client.score([TRACE]))
    await asyncio.sleep(0)
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_the_synchronous_client_does_the_same() -> None:
    async with live_server(ScriptedProver(VALUES), api_key="k") as live:

        def use() -> Sequence[object]:
            with Client(live.url, api_key="k") as client:
                [scored] = client.score([TRACE])
                paid = client.advantages({"groups": [{"scored": [{"outcome": 1, "values": [0.5]}]}]})
                return scored.status, client.prover().engine, len(client.episodes([TRACE]).traces), paid.groups[0][0].id

        assert await asyncio.to_thread(use) == (Status.OK, "scripted", 1, "")
        closed = await asyncio.to_thread(Client, live.url)
        await asyncio.to_thread(closed.close)
        closed.close()
