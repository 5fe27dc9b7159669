"""One request, asked until it is answered, cannot be, or the time of its call is up."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

import httpx
import pytest

from mrt_reward.client.asking import Ask, Asker
from mrt_reward.client.retry import Refused, RetryPolicy
from mrt_reward.client.servers import Servers
from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    MRTRewardError,
    Overloaded,
    ProverUnavailable,
    RequestRejected,
    WireError,
)
from mrt_reward.wire import MAX_DEADLINE_MS

ASK = Ask.of("POST", "/v1/score", b"{}")
FAST = RetryPolicy(base_s=0.001, max_wait_s=0.002)


@pytest.fixture
async def http() -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        yield client


class Server:
    """Answers with what it was given, one after another; the last for ever."""

    def __init__(self, *replies: BaseException | str) -> None:
        self.replies = list(replies)
        self.headers: list[Mapping[str, str]] = []

    async def __call__(self, url: str, headers: Mapping[str, str]) -> str:
        assert url == "http://server"
        self.headers.append(headers)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, BaseException):
            raise reply
        return reply


async def asked(server: Server, http: httpx.AsyncClient, timeout_s: float = 20.0, retry: RetryPolicy = FAST) -> str:
    asker = Asker(http, Servers(["http://server"]), timeout_s, retry)
    return await asker.until_answered(ASK, (0,), server, asker.ends_at())


async def test_each_request_has_a_key_of_its_own_which_its_tries_share(http: httpx.AsyncClient) -> None:
    server = Server(Refused(WireError("lost")), httpx.ReadError("reset"), "the reply")
    assert await asked(server, http) == "the reply"
    assert [headers["Idempotency-Key"] for headers in server.headers] == [ASK.headers["Idempotency-Key"]] * 3
    assert Ask.of("POST", "/v1/score").headers["Idempotency-Key"] != ASK.headers["Idempotency-Key"]
    assert Ask.of("GET", "/", Accept="x").headers["Accept"] == "x"


async def test_each_try_says_how_much_time_is_left(http: httpx.AsyncClient) -> None:
    server = Server(*[Refused(WireError("lost"))] * 3, "the reply")
    await asked(server, http, timeout_s=9.0)
    left_ms = [int(headers["X-Deadline-Ms"]) for headers in server.headers]
    assert left_ms == sorted(left_ms, reverse=True)
    assert 0 < left_ms[-1] < left_ms[0] <= 9000
    await asked(server, http, timeout_s=1e7)
    assert int(server.headers[-1]["X-Deadline-Ms"]) == MAX_DEADLINE_MS, "a server takes no more"


@pytest.mark.parametrize(
    ("replies", "kind", "num_tries"),
    [
        ([Refused(RequestRejected("no"))], RequestRejected, 1),
        ([httpx.InvalidURL("no")], RequestRejected, 1),
        ([Refused(WireError("lost"))], WireError, 5),
        ([httpx.ConnectError("refused")], WireError, 5),
        ([httpx.ReadTimeout("slow")], DeadlineExceeded, 5),
        # What a busy server refused is not one of the five tries.
        ([*[Refused(Overloaded("busy"))] * 20, Refused(WireError("lost"))], WireError, 25),
        ([Refused(WireError("lost")), Refused(RequestRejected("no"))], RequestRejected, 2),
    ],
)
async def test_it_is_asked_again_only_where_that_can_help(
    http: httpx.AsyncClient, replies: Sequence[Exception], kind: type[MRTRewardError], num_tries: int
) -> None:
    server = Server(*replies)
    with pytest.raises(kind):
        await asked(server, http)
    assert len(server.headers) == num_tries


async def test_a_wait_that_would_outlast_the_call_is_not_begun(http: httpx.AsyncClient) -> None:
    server = Server(Refused(Overloaded("busy"), wait_s=60.0))
    with pytest.raises(Overloaded):
        await asked(server, http, timeout_s=30.0, retry=RetryPolicy(max_wait_s=90.0))
    assert len(server.headers) == 1


async def test_a_try_that_never_ends_ends_with_the_call(http: httpx.AsyncClient) -> None:
    num_ended = 0

    async def hang(_url: str, _headers: Mapping[str, str]) -> str:
        nonlocal num_ended
        try:
            await asyncio.Event().wait()
        finally:
            num_ended += 1
        raise AssertionError

    asker = Asker(http, Servers(["http://server"]), 0.05, FAST)
    with pytest.raises(DeadlineExceeded, match=r"no reply from http://server within 0\.05 s"):
        await asker.until_answered(ASK, (0,), hang, asker.ends_at())
    assert num_ended == 1


async def test_a_client_that_is_closed_under_a_call_says_so_and_our_own_bugs_are_not_hidden() -> None:
    client = httpx.AsyncClient()
    with pytest.raises(RuntimeError, match="a bug"):
        await asked(Server(RuntimeError("a bug")), client)
    await client.aclose()
    with pytest.raises(RequestRejected, match="the client was closed"):
        await asked(Server(RuntimeError("Cannot send a request, as the client has been closed.")), client)


async def test_whoever_leaves_is_not_asked_for_again(http: httpx.AsyncClient) -> None:
    server = Server(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await asked(server, http)
    assert len(server.headers) == 1


async def test_work_within_a_call_ends_with_its_time(http: httpx.AsyncClient) -> None:
    asker = Asker(http, Servers(["http://server"]), 0.02, FAST)

    async def done() -> str:
        return "done"

    assert await asker.within(asker.ends_at() + 60, done()) == "done"
    with pytest.raises(DeadlineExceeded):
        await asker.within(asker.ends_at(), asyncio.Event().wait())
    with pytest.raises(DeadlineExceeded):
        await asker.within(asker.ends_at() - 60, asyncio.Event().wait())


class Fleet:
    """Servers by URL, each with what it says."""

    def __init__(self, **replies: BaseException | str) -> None:
        self.replies = {f"http://{name}": reply for name, reply in replies.items()}
        self.asked: list[str] = []

    async def __call__(self, url: str, headers: Mapping[str, str]) -> str:
        self.asked.append(url.removeprefix("http://"))
        reply = self.replies[url]
        if isinstance(reply, BaseException):
            raise reply
        return reply


GONE = httpx.ConnectError("refused")


@pytest.mark.parametrize("away", [GONE, Refused(Draining("stops")), Refused(ProverUnavailable("hangs"))])
async def test_a_server_that_is_away_is_left_for_the_next_one_at_once(
    http: httpx.AsyncClient, away: BaseException
) -> None:
    fleet = Fleet(a=away, b=away, c="the reply")
    # Whoever waited between tries would wait for an hour.
    asker = Asker(http, Servers(list(fleet.replies)), 7200.0, RetryPolicy(base_s=3600.0, max_wait_s=3600.0))
    for _ in range(2):
        answer = asker.until_answered(ASK, (1, 0, 2), fleet, asker.ends_at())
        assert await asyncio.wait_for(answer, 20) == "the reply"
    assert fleet.asked == ["b", "a", "c", "c"], "those that are away are not asked by the next request"


async def test_a_call_says_once_that_a_server_is_away_also_where_it_answers_others_and_how_long_it_waits(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    servers = Servers(["http://server"])
    num_tries = 0

    async def attempt(_url: str, _headers: Mapping[str, str]) -> str:
        nonlocal num_tries
        num_tries += 1
        servers.answered(0)  # Of another call.
        if num_tries == 4:
            return "the reply"
        await asyncio.sleep(0.2)
        raise Refused(ProverUnavailable("hangs"))

    asker = Asker(http, servers, 20.0, FAST)
    assert await asker.until_answered(ASK, (0,), attempt, asker.ends_at()) == "the reply"
    [line] = [record.getMessage() for record in caplog.records]
    found = re.fullmatch(r"mrt: http://server is away; asking again, or elsewhere, for up to (.+) s: hangs", line)
    assert found is not None
    assert 0 < float(found[1]) < 20


@pytest.mark.parametrize("error", [Refused(ProverUnavailable("m", code="canary_changed"))])
async def test_what_lasts_is_not_asked_again_of_the_same_server(http: httpx.AsyncClient, error: Refused) -> None:
    server = Server(error)
    with pytest.raises(ProverUnavailable):
        await asked(server, http)
    assert len(server.headers) == 1


@pytest.mark.parametrize("error", [Overloaded("busy"), WireError("lost"), RequestRejected("no")])
async def test_a_server_that_answers_is_not_left(http: httpx.AsyncClient, error: MRTRewardError) -> None:
    fleet = Fleet(a=Refused(error), b="the reply")
    asker = Asker(http, Servers(list(fleet.replies)), 20.0, RetryPolicy(max_tries=3, base_s=0.001))
    with pytest.raises(type(error)):
        await asker.until_answered(ASK, (0, 1), fleet, asker.ends_at())
    assert set(fleet.asked) == {"a"}


async def test_a_request_that_takes_every_server_down_is_given_up(http: httpx.AsyncClient) -> None:
    fleet = Fleet(a=GONE, b=GONE, c=GONE)
    asker = Asker(http, Servers(list(fleet.replies)), 20.0, FAST)
    with pytest.raises(WireError, match="no server at http://"):
        await asker.until_answered(ASK, (0, 1, 2), fleet, asker.ends_at())
    assert len(fleet.asked) == 5, "as many tries as with one server"
