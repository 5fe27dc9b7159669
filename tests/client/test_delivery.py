"""The traces of one request, whatever breaks on their way back."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from mrt_reward.client.bodies import write_all
from mrt_reward.client.coalescer import Parcel
from mrt_reward.client.delivery import Delivery, Landing
from mrt_reward.client.retry import MALFORMED, UNREACHABLE, Refused
from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    ErrorInfo,
    GraderError,
    MRTRewardError,
    ProverError,
    ProverUnavailable,
    TraceError,
)
from mrt_reward.types import ScoredTrace, Status
from tests.client.test_aio import LINE
from tests.server.conftest import TRACE

PARCEL = Parcel(write_all([{**TRACE, "id": str(n)} for n in range(3)]), None, ["x", "y", "z"], (0, 1), 60.0)


def lines(**indices: int) -> bytes:
    """Of a reply: traces by id, with their places in the request."""
    return b"".join(
        json.dumps({"index": index, "trace": {**LINE, "id": name}}).encode() + b"\n" for name, index in indices.items()
    )


def failed(error: MRTRewardError, **indices: int) -> bytes:
    """The same of traces that failed so."""
    info, fields = ErrorInfo.of(error), {**LINE, "status": "error"}
    shown = {"message": info.message, "type": info.type, "code": info.code, "param": info.param}
    return b"".join(
        json.dumps({"index": index, "trace": {**fields, "id": name, "error": shown}}).encode() + b"\n"
        for name, index in indices.items()
    )


class Way:
    """What servers reply, and what came of it."""

    def __init__(self, *replies: bytes) -> None:
        self._replies = list(replies)
        self.seen: list[tuple[str, list[str], str]] = []
        self.delivered: list[tuple[int, str]] = []
        self.held: list[tuple[int, str]] = []
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.delivery = Delivery(http, PARCEL, self._deliver)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        ids = [trace["id"] for trace in json.loads(request.content)["traces"]]
        self.seen.append((request.url.host, ids, request.headers["Idempotency-Key"]))
        return httpx.Response(200, content=self._replies.pop(0))

    def _deliver(self, index: int, scored: ScoredTrace, final: bool) -> None:
        (self.delivered if final else self.held).append((index, scored.id))


async def test_another_server_is_asked_for_what_is_missing_only_and_indices_are_the_callers() -> None:
    way = Way(lines(y=1), lines(z=1, x=0))
    with pytest.raises(Refused, match="ended with 2 traces missing") as caught:
        await way.delivery.attempt("http://a", {})
    assert caught.value.error.code == UNREACHABLE
    await way.delivery.attempt("http://b", {})
    assert way.delivered == [(1, "y"), (2, "z"), (0, "x")]
    assert [(host, ids) for host, ids, _ in way.seen] == [("a", ["x", "y", "z"]), ("b", ["x", "z"])]
    assert way.seen[0][2] != way.seen[1][2], "another body is another request"


async def test_the_same_server_is_asked_the_same_again_and_each_trace_is_delivered_once() -> None:
    way = Way(lines(x=0), lines(x=0, y=1, z=2))
    with pytest.raises(Refused):
        await way.delivery.attempt("http://a", {})
    await way.delivery.attempt("http://a", {})
    assert way.delivered == [(0, "x"), (1, "y"), (2, "z")]
    assert way.seen[0] == way.seen[1]


@pytest.mark.parametrize("extra", [lines(q=3), lines(q=-1), lines(q=2_000_000)])
async def test_an_index_that_nobody_asked_for_is_nobodys(extra: bytes) -> None:
    way = Way(extra + lines(x=0, y=1, z=2))
    await way.delivery.attempt("http://a", {})
    assert [index for index, _ in way.delivered] == [0, 1, 2]


async def test_a_line_that_cannot_be_read_is_reported_and_its_neighbours_are_delivered() -> None:
    way = Way(lines(x=0) + b"garbage\n" + lines(z=2))
    with pytest.raises(Refused, match="http://a is no StreamedTrace") as caught:
        await way.delivery.attempt("http://a", {})
    assert caught.value.error.code == MALFORMED
    assert [index for index, _ in way.delivered] == [0, 2]


AWAY = [ProverUnavailable("gone"), ProverUnavailable("gone", code="loading_weights"), Draining("gone")]


@pytest.mark.parametrize("error", AWAY, ids=lambda error: error.code)
@pytest.mark.parametrize("host", ["a", "b"])
async def test_what_fails_while_the_engine_is_away_is_held_and_alone_asked_for_again(
    host: str, error: MRTRewardError
) -> None:
    way = Way(failed(error, x=0) + lines(y=1) + failed(error, z=2), lines(z=1, x=0))
    with pytest.raises(Refused, match="gone") as caught:
        await way.delivery.attempt("http://a", {})
    assert type(caught.value.error) is type(error)
    assert (caught.value.error.code, caught.value.answered) == (error.code, True)
    assert (way.held, way.delivered) == ([(0, "x"), (2, "z")], [(1, "y")])
    await way.delivery.attempt(f"http://{host}", {})
    assert way.delivered == [(1, "y"), (2, "z"), (0, "x")]
    assert [(asked, ids) for asked, ids, _ in way.seen] == [("a", ["x", "y", "z"]), (host, ["x", "z"])]
    assert way.seen[0][2] != way.seen[1][2], "another body is another request"


async def test_while_lines_are_lost_the_same_is_asked_again_under_the_same_key() -> None:
    way = Way(failed(AWAY[0], x=0) + lines(y=1), failed(AWAY[0], x=0) + lines(z=2), lines(x=0))
    with pytest.raises(Refused, match="ended with 1 traces missing") as caught:
        await way.delivery.attempt("http://a", {})
    assert caught.value.error.code == UNREACHABLE
    with pytest.raises(Refused, match="gone"):
        await way.delivery.attempt("http://a", {})
    await way.delivery.attempt("http://a", {})
    assert way.delivered == [(1, "y"), (2, "z"), (0, "x")]
    assert [ids for _, ids, _ in way.seen] == [["x", "y", "z"], ["x", "y", "z"], ["x"]]
    assert way.seen[0] == way.seen[1], "so that the server goes on with what it has begun"


FINAL = [ProverError("no"), GraderError("no"), TraceError("no"), DeadlineExceeded("no")]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: error.code)
async def test_every_other_failure_of_a_trace_is_final(error: MRTRewardError) -> None:
    way = Way(failed(error, x=0) + lines(y=1, z=2))
    await way.delivery.attempt("http://a", {})
    assert (way.held, [index for index, _ in way.delivered]) == ([], [0, 1, 2])


async def test_a_request_lands_as_it_comes_and_what_was_held_lands_at_its_end() -> None:
    found: asyncio.Queue[tuple[int, ScoredTrace] | None] = asyncio.Queue()
    landing = Landing(found, [7, 3, 5])
    scored = {name: ScoredTrace(name, Status.OK) for name in "abc"}
    landing.deliver(0, scored["a"], final=False)
    landing.deliver(2, scored["b"], final=False)
    landing.deliver(0, scored["c"], final=True)
    landing.deliver(0, scored["a"], final=True)
    assert [found.get_nowait() for _ in range(found.qsize())] == [(7, scored["c"])], "each once"
    assert not landing.end(), "one was lost"
    landing.deliver(1, scored["a"], final=True)
    assert landing.end()
    assert [found.get_nowait() for _ in range(found.qsize())] == [(5, scored["b"]), (3, scored["a"])]
