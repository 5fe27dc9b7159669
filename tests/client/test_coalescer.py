"""Callers who share requests: what one of them does, and what the server does to it, never touches another."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable

import httpx
import numpy as np
import pytest

from mrt_reward.client import AsyncClient, RetryPolicy
from mrt_reward.client.aio import MAX_IN_FLIGHT
from mrt_reward.client.bodies import written
from mrt_reward.client.coalescer import Coalescer, Deliver, Parcel
from mrt_reward.errors import MRTRewardError, RequestRejected, WireError
from mrt_reward.types import Status
from tests.server.conftest import TRACE

LINE = {
    "status": "ok",
    "outcome": 1.0,
    "values": [],
    "episodes": [],
    "prover": "m@1",
    "usage": {},
    "spellings": [],
    "warnings": [],
    "error": None,
}
Answer = Callable[[httpx.Request, list[dict[str, object]]], Awaitable[httpx.Response]]


def scored(traces: list[dict[str, object]]) -> httpx.Response:
    lines = [
        {"index": index, "trace": {**LINE, "id": trace["id"], "metadata": trace.get("metadata", {})}}
        for index, trace in enumerate(traces)
    ]
    return httpx.Response(200, content=b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def refusal(status: int) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "no", "type": "T", "code": "c", "param": None}})


def client_of(answer: Answer, *, timeout_s: float = 20.0) -> AsyncClient:
    async def handle(request: httpx.Request) -> httpx.Response:
        return await answer(request, json.loads(request.content)["traces"])

    retry = RetryPolicy(max_tries=2, base_s=0.001)
    return AsyncClient("http://server", transport=httpx.MockTransport(handle), timeout_s=timeout_s, retry=retry)


async def outcome(call: Awaitable[object]) -> str:
    try:
        await call
    except MRTRewardError as error:
        return type(error).__name__
    except asyncio.CancelledError:
        return "cancelled"
    return "ok"


def marked(number: int, **metadata: object) -> dict[str, object]:
    return {**TRACE, "metadata": {"number": number, **metadata}}


async def test_metadata_that_is_no_json_fails_its_own_caller_at_once_and_costs_no_slot() -> None:
    async def answer(_: httpx.Request, traces: list[dict[str, object]]) -> httpx.Response:
        return scored(traces)

    async with client_of(answer) as client:
        bad = marked(0, reward=np.float32(1.5))
        found = await asyncio.gather(*(outcome(client.score([bad if n % 2 else marked(n)])) for n in range(200)))
        assert found == ["ok", "RequestRejected"] * 100
        assert client._slots._value == MAX_IN_FLIGHT
        assert await outcome(client.score([marked(1)])) == "ok"


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("bad", [{3}, {0, 17, 49}, set(range(0, 50, 2)), set(range(50))])
async def test_a_trace_that_the_server_refuses_fails_alone(status: int, bad: set[int]) -> None:
    num_requests = 0

    async def answer(_: httpx.Request, traces: list[dict[str, object]]) -> httpx.Response:
        nonlocal num_requests
        num_requests += 1
        refused = any(trace["metadata"]["number"] in bad for trace in traces)  # type: ignore[index]
        return refusal(status) if refused else scored(traces)

    async with client_of(answer) as client:
        calls = [client.score([marked(number)]) for number in range(50)]
        results = await asyncio.gather(*calls, return_exceptions=True)
    for number, result in enumerate(results):
        if number in bad:
            assert type(result) is RequestRejected
        else:
            assert isinstance(result, list)
            assert result[0].metadata["number"] == number
    # Each bad one costs at most two requests for each of the six halvings of fifty.
    assert num_requests <= 1 + 2 * 6 * len(bad)


@pytest.mark.parametrize("status", [401, 403, 404, 409, 415])
async def test_what_is_wrong_with_the_caller_is_not_asked_again_trace_by_trace(status: int) -> None:
    num_requests = 0

    async def answer(_: httpx.Request, __: list[dict[str, object]]) -> httpx.Response:
        nonlocal num_requests
        num_requests += 1
        return refusal(status)

    async with client_of(answer) as client:
        found = await asyncio.gather(*(outcome(client.score([marked(number)])) for number in range(50)))
    assert (set(found), num_requests) == ({"RequestRejected"}, 1)


async def test_a_request_that_is_too_large_is_sent_in_smaller_ones() -> None:
    async def answer(_: httpx.Request, traces: list[dict[str, object]]) -> httpx.Response:
        return refusal(413) if len(traces) > 7 else scored(traces)

    async with client_of(answer) as client:
        traces = [{**marked(number), "id": str(number)} for number in range(100)]
        found = await client.score(traces)
        assert [trace.metadata["number"] for trace in found] == list(range(100))
        assert sorted([index async for index, _ in client.stream(traces)]) == list(range(100))


@pytest.mark.parametrize("num_calls", [1, 128])
async def test_timeout_s_bounds_the_wait_for_a_slot_too(num_calls: int) -> None:
    async def answer(_: httpx.Request, __: list[dict[str, object]]) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with client_of(answer, timeout_s=1.0) as client:
        started = time.monotonic()
        single = [outcome(client.score([marked(number)])) for number in range(num_calls)]
        many = [outcome(client.score([marked(0), {**marked(1), "id": "u"}])) for _ in range(num_calls)]
        others = [outcome(client.episodes([marked(0)])) for _ in range(num_calls)]
        found = await asyncio.gather(*single, *many, *others)
        assert set(found) == {"DeadlineExceeded"}
        # One after another on 32 slots, the many and the others would take 1 s for each 32 of 256.
        assert time.monotonic() - started < 5.0
        assert client._slots._value == MAX_IN_FLIGHT


async def test_a_fault_of_the_client_itself_fails_the_callers_and_frees_the_slot() -> None:
    async def answer(_: httpx.Request, __: list[dict[str, object]]) -> httpx.Response:
        raise ZeroDivisionError("a transport with a bug")

    async with client_of(answer) as client:
        found = await asyncio.gather(*(outcome(client.score([marked(number)])) for number in range(40)))
        assert set(found) == {"WireError"}
        assert client._slots._value == MAX_IN_FLIGHT


async def test_a_request_that_is_ended_before_it_begins_answers_its_callers_too() -> None:
    async def send(parcel: Parcel, deliver: Deliver) -> None:
        raise AssertionError

    slots = asyncio.Semaphore(1)
    coalescer = Coalescer(send, slots)
    trace = written(marked(0), 0)
    call = coalescer.ask(trace, (None, (0,)), asyncio.get_running_loop().time() + 60)
    while not any("_answer" in repr(task) for task in coalescer._tasks):  # noqa: ASYNC110 - it has not begun
        await asyncio.sleep(0)
    await coalescer.close()
    with pytest.raises(WireError, match="the client was closed"):
        await call.future
    assert slots._value == 1


async def test_calls_of_a_closed_client_are_refused() -> None:
    async def answer(_: httpx.Request, traces: list[dict[str, object]]) -> httpx.Response:
        return scored(traces)

    client = client_of(answer)
    await client.close()
    for call in (client.score([marked(0)]), client.score([marked(0), {**marked(1), "id": "u"}]), client.prover()):
        with pytest.raises(RequestRejected, match="closed"):
            await call
    assert not await client.ready()


BROKEN: dict[str, dict[str, object]] = {"bad": {"bad": True}, "no json": {"x": object()}}
BUSY = {"Overloaded", "Draining", "DeadlineExceeded"}
ALLOWED = {
    # Its request may be lost before the server has looked at it.
    "bad": {"RequestRejected", "WireError", *BUSY},
    "no json": {"RequestRejected"},
    "leaves": {"ok", "cancelled", "WireError", *BUSY},
}


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_server_and_callers_do_each_call_ends_with_its_own_result(seed: int) -> None:
    draw = random.Random(seed)

    async def answer(_: httpx.Request, traces: list[dict[str, object]]) -> httpx.Response:
        await asyncio.sleep(draw.random() * 0.02)
        if any(trace["metadata"].get("bad") for trace in traces):  # type: ignore[attr-defined]
            return refusal(draw.choice([400, 413, 422]))
        fate = draw.random()
        if fate < 0.1:
            raise httpx.ReadError("reset")
        if fate < 0.2:
            return httpx.Response(200, content=scored(traces).content[: draw.randrange(100)])
        if fate < 0.25:
            return refusal(draw.choice([500, 502, 503, 504, 429]))
        return scored(traces)

    async def one(client: AsyncClient, number: int) -> str:
        await asyncio.sleep(draw.random() * 0.05)
        kind = draw.choice([*["good"] * 3, *BROKEN, "leaves", "many"])
        traces = [
            {**marked(number, **BROKEN.get(kind, {})), "id": f"t{index}"} for index in range(3 if kind == "many" else 1)
        ]
        task = asyncio.ensure_future(client.score(traces))
        if kind == "leaves":
            asyncio.get_running_loop().call_later(draw.random() * 0.02, task.cancel)
        reported = await outcome(task)
        assert reported in ALLOWED.get(kind, {"ok", "WireError", *BUSY}), kind
        if reported == "ok":
            assert [result.status for result in task.result()] == [Status.OK] * len(traces)
            assert [result.metadata["number"] for result in task.result()] == [number] * len(traces)
            assert [result.id for result in task.result()] == [trace["id"] for trace in traces]
        return reported

    async with client_of(answer) as client:
        found = await asyncio.wait_for(asyncio.gather(*(one(client, number) for number in range(300))), 60)
        assert found.count("ok") > 50
        while client._coalescer._tasks:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.001)
        assert client._slots._value == MAX_IN_FLIGHT
        assert not client._coalescer._waiting


async def test_a_part_that_fails_stops_the_other_parts_of_its_call() -> None:
    num_running = 0

    async def answer(_: httpx.Request, traces: list[dict[str, object]]) -> httpx.Response:
        nonlocal num_running
        if traces[0]["id"] == "0":
            return refusal(422)
        num_running += 1
        try:
            await asyncio.Event().wait()
        finally:
            num_running -= 1
        raise AssertionError

    async with client_of(answer) as client:
        with pytest.raises(RequestRejected):
            await client.score([{**marked(number), "id": str(number)} for number in range(600)])
        assert num_running == 0
        assert client._slots._value == MAX_IN_FLIGHT


async def test_closing_fails_who_waits_for_a_slot() -> None:
    async def answer(_: httpx.Request, __: list[dict[str, object]]) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    client = client_of(answer)
    many = [asyncio.ensure_future(client.score([marked(0), {**marked(1), "id": "u"}])) for _ in range(MAX_IN_FLIGHT)]
    await asyncio.sleep(0.01)
    waiting = asyncio.ensure_future(client.score([marked(2)]))
    await asyncio.sleep(0.01)
    await client.close()
    with pytest.raises(WireError, match="closed"):
        await waiting
    for task in many:
        task.cancel()
    await asyncio.gather(*many, return_exceptions=True)
