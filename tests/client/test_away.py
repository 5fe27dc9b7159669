"""Servers whose engine is away: traces that failed for that reason are asked for again, and no others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

import httpx
import pytest

from mrt_reward.client import AsyncClient, Client, RetryPolicy
from mrt_reward.client.retry import CANARY_CHANGED
from mrt_reward.errors import MRTRewardError, ProverError, ProverUnavailable, WireError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.types import ScoredTrace, Status
from tests.client.test_aio import LINE
from tests.client.test_delivery import failed
from tests.server.conftest import TRACE, VALUES, live_server, threaded_server

QUICK = RetryPolicy(base_s=0.001, max_wait_s=0.01)
TRACES = [{**TRACE, "id": f"t{number}", "metadata": {"number": number}} for number in range(6)]
AWAY = ProverUnavailable("its engine is gone")

Answer = Callable[[str, Sequence[int]], Awaitable[bytes]]
"""The reply of a host to traces of these numbers."""


def right(number: int, index: int) -> bytes:
    return json.dumps({"index": index, "trace": {**LINE, "metadata": {"number": number}}}).encode() + b"\n"


def reply(numbers: Sequence[int], lost: Sequence[int], error: MRTRewardError = AWAY) -> bytes:
    """Of a server that scores all of them but those."""
    return b"".join(
        failed(error, **{f"t{number}": index}) if number in lost else right(number, index)
        for index, number in enumerate(numbers)
    )


class Servers:
    """What each host was asked for, and what it answers."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[tuple[str, list[int]]] = []
        self._answer = answer

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        numbers = [trace["metadata"]["number"] for trace in json.loads(request.content)["traces"]]
        self.asked.append((request.url.host, numbers))
        return httpx.Response(200, content=await self._answer(request.url.host, numbers))

    def client(self, *hosts: str, retry: RetryPolicy = QUICK, timeout_s: float = 60.0) -> AsyncClient:
        urls = [f"http://{host}" for host in hosts or ("a",)]
        return AsyncClient(urls, transport=httpx.MockTransport(self), retry=retry, timeout_s=timeout_s)


async def one_by_one(client: AsyncClient) -> list[ScoredTrace]:
    return [scored for [scored] in await asyncio.gather(*(client.score([trace]) for trace in TRACES))]


async def as_they_come(client: AsyncClient) -> list[ScoredTrace]:
    return [scored async for _, scored in client.stream(TRACES)]


async def together(client: AsyncClient) -> list[ScoredTrace]:
    return await client.score(TRACES)


WAYS = pytest.mark.parametrize("way", [together, as_they_come, one_by_one])
Way = Callable[[AsyncClient], Awaitable[list[ScoredTrace]]]


@WAYS
async def test_once_the_engine_is_back_all_are_scored_and_nothing_is_asked_for_twice(
    way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, {6: (1, 4), 2: (4,)}.get(len(numbers), ()))

    servers = Servers(answer)
    async with servers.client() as client:
        scored = await way(client)
    assert servers.asked == [("a", [0, 1, 2, 3, 4, 5]), ("a", [1, 4]), ("a", [4])]
    assert [trace.status for trace in scored] == [Status.OK] * 6
    order = [0, 2, 3, 5, 1, 4] if way is as_they_come else [0, 1, 2, 3, 4, 5]
    assert [trace.metadata["number"] for trace in scored] == order
    [line] = [record.getMessage() for record in caplog.records if record.name == "mrt_reward.client.asking"]
    assert line == "mrt: http://a is away; asking again, or elsewhere, for up to 60 s: its engine is gone"


async def never() -> bytes:
    await asyncio.Event().wait()
    raise AssertionError


async def gone() -> bytes:
    raise httpx.ConnectError("refused")


async def away() -> bytes:
    return reply([1, 4], (1, 4))


@WAYS
@pytest.mark.parametrize(
    ("later", "retry", "timeout_s", "num_asked"),
    [
        (away, RetryPolicy(max_tries=1), 60.0, 1),
        (away, RetryPolicy(max_tries=3, base_s=0.001), 60.0, 3),
        (gone, RetryPolicy(max_tries=3, base_s=0.001), 60.0, 3),
        (away, QUICK, 0.5, None),
        (never, QUICK, 0.5, 2),
    ],
)
async def test_where_tries_or_time_are_up_what_failed_has_failed_and_no_other(
    way: Way, later: Callable[[], Awaitable[bytes]], retry: RetryPolicy, timeout_s: float, num_asked: int | None
) -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, (1, 4)) if len(numbers) == 6 else await later()

    servers = Servers(answer)
    async with servers.client(retry=retry, timeout_s=timeout_s) as client:
        scored = await way(client)
    by_id = {trace.id: trace for trace in scored}
    assert len(scored) == 6
    assert [trace.status for trace in scored].count(Status.ERROR) == 2
    lost = [by_id[name].error for name in ("t1", "t4")]
    assert [error and (error.code, error.message) for error in lost] == [("prover_unavailable", str(AWAY))] * 2
    assert [numbers for _, numbers in servers.asked[1:]] == [[1, 4]] * (len(servers.asked) - 1)
    assert num_asked is None or len(servers.asked) == num_asked


@WAYS
async def test_another_server_takes_over_what_failed(way: Way) -> None:
    async def answer(host: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, numbers if host == servers.asked[0][0] else ())

    servers = Servers(answer)
    async with servers.client("a", "b") as client:
        scored = await way(client)
        [first, second] = servers.asked
        again = await way(client)
    assert {first[0], second[0]} == {"a", "b"}
    assert first[1] == second[1] == [0, 1, 2, 3, 4, 5]
    assert {trace.status for trace in [*scored, *again]} == {Status.OK}
    assert servers.asked[2:] == [second], "it is left out for a while"


async def test_other_failures_of_a_trace_stay_as_they_are() -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, (1, 4), ProverError("too hard"))

    servers = Servers(answer)
    async with servers.client("a", "b") as client:
        scored = await client.score(TRACES)
    assert [trace.status is Status.OK for trace in scored] == [True, False, True, True, False, True]
    assert len(servers.asked) == 1


@pytest.mark.parametrize("way", [together, as_they_come])
async def test_a_request_that_loses_traces_fails_also_where_others_were_held(way: Way) -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        if len(servers.asked) == 1:
            return reply(numbers[:3], (1,))
        raise httpx.ConnectError("refused")

    servers = Servers(answer)
    async with servers.client(retry=RetryPolicy(max_tries=2, base_s=0.001)) as client:
        with pytest.raises(MRTRewardError, match="no server at http://a"):
            await way(client)


@WAYS
async def test_a_server_that_answered_other_traces_of_the_request_is_asked_again_itself(way: Way) -> None:
    async def answer(host: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, (1,) if len(servers.asked) == 1 else ())

    servers = Servers(answer)
    async with servers.client("a", "b") as client:
        scored = await way(client)
    assert {trace.status for trace in scored} == {Status.OK}
    [(first, numbers), *others] = servers.asked
    assert (numbers, others) == ([0, 1, 2, 3, 4, 5], [(first, [1])])


@WAYS
async def test_what_lasts_is_asked_of_each_server_once(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    broken = ProverUnavailable("its values changed", code=CANARY_CHANGED)

    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, numbers if len(servers.asked) == 2 else numbers[1:], broken)

    servers = Servers(answer)
    async with servers.client("a", "b", "c") as client:
        scored = await way(client)
    assert sorted(host for host, _ in servers.asked) == ["a", "b", "c"]
    assert [trace.error.code for trace in scored if trace.error is not None] == [CANARY_CHANGED] * 4
    async with Servers(answer).client() as client:
        caplog.clear()
        assert [trace.error is not None for trace in await client.score(TRACES)] == [False, *[True] * 5]
    assert not caplog.records, "nobody asks again"


@pytest.mark.parametrize("way", [together, as_they_come])
@pytest.mark.parametrize(("retry", "timeout_s"), [(RetryPolicy(max_tries=1), 60.0), (QUICK, 0.5)])
async def test_the_other_half_of_a_request_that_was_too_large_is_scored(
    way: Way, retry: RetryPolicy, timeout_s: float
) -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, (1,))

    class Small(Servers):
        async def __call__(self, request: httpx.Request) -> httpx.Response:
            replied = await super().__call__(request)
            return replied if len(self.asked[-1][1]) <= 3 else httpx.Response(413)

    async with Small(answer).client(retry=retry, timeout_s=timeout_s) as client:
        scored = await way(client)
    assert {trace.id for trace in scored if trace.status is Status.ERROR} == {"t1"}
    assert len(scored) == 6


@WAYS
@pytest.mark.parametrize(
    ("status", "code", "message"), [(401, "unauthorized", "HTTP 401"), (500, "internal_error", "HTTP 500")]
)
async def test_an_error_that_does_not_pass_is_raised_also_where_a_failure_was_held(
    way: Way, status: int, code: str, message: str
) -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, (1, 4))

    class Refusing(Servers):
        async def __call__(self, request: httpx.Request) -> httpx.Response:
            replied = await super().__call__(request)
            body = {"error": {"message": "no", "type": "T", "code": code, "param": None}}
            return replied if len(self.asked) == 1 else httpx.Response(status, json=body)

    async with Refusing(answer).client() as client:
        with pytest.raises(WireError, match=message) as caught:
            await way(client)
    assert caught.value.code == code


async def test_who_leaves_while_the_engine_is_away_ends_the_request() -> None:
    async def answer(_: str, numbers: Sequence[int]) -> bytes:
        return reply(numbers, numbers)

    servers = Servers(answer)
    async with servers.client() as client:
        for call in (client.score(TRACES), client.score(TRACES[:1])):
            asking, num_before = asyncio.ensure_future(call), len(servers.asked)
            while len(servers.asked) < num_before + 3:  # noqa: ASYNC110 - another task's state
                await asyncio.sleep(0.001)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            while client._coalescer._tasks:  # noqa: ASYNC110 - another task's state
                await asyncio.sleep(0.001)
            num_asked = len(servers.asked)
            await asyncio.sleep(0.1)
            assert len(servers.asked) == num_asked


async def test_a_real_server_answers_once_its_engine_is_back(caplog: pytest.LogCaptureFixture) -> None:
    async with live_server() as live, AsyncClient(live.url, retry=QUICK, timeout_s=60) as client:
        live.prover.unavailable = True
        asking = asyncio.create_task(client.score(TRACES[:2]))
        while not caplog.records:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        live.prover.unavailable = False
        assert [trace.status for trace in await asking] == [Status.OK] * 2


def test_the_synchronous_face_reports_failures_too() -> None:
    prover = ScriptedProver(VALUES)
    with threaded_server(prover) as url, Client(url, retry=RetryPolicy(max_tries=2, base_s=0.001)) as client:
        prover.unavailable = True
        for scored in (
            *client.score(TRACES),
            *client.score(TRACES[:1]),
            *(trace for _, trace in client.stream(TRACES)),
        ):
            assert scored.error is not None
            assert scored.error.code == "prover_unavailable"
