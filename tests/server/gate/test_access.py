"""Every request is logged and counted once, with the status that its caller got, or that it did not get it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from mrt_reward.server.gate.access import BROKEN, CALLER_GONE, Access
from mrt_reward.server.gate.scope import RECEIVED_AT, REQUEST_ID
from tests.server.gate.sending import Receiving, Sending, scope_of

Logs = list[MutableMapping[str, Any]]


class Counted:
    """What was counted: route and status."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.seconds: list[float] = []

    def __call__(self, route: str, status: int, seconds: float) -> None:
        self.requests.append((route, status))
        self.seconds.append(seconds)


class Replying:
    """Sends the beginning of a reply and as many bodies as asked for, then ends as told."""

    def __init__(self, *bodies: bool, status: int = 200, error: BaseException | None = None) -> None:
        self._bodies, self._status, self._error = bodies, status, error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._bodies:
            await send({"type": "http.response.start", "status": self._status, "headers": []})
        for more in self._bodies:
            await send({"type": "http.response.body", "body": b"x", "more_body": more})
        if self._error is not None:
            raise self._error


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (Replying(False), 200),
        (Replying(True, True, False, status=404), 404),
        (Replying(False, status=500), 500),
        (Replying(True, True), CALLER_GONE),
        (Replying(), CALLER_GONE),
        (Replying(True, error=ZeroDivisionError()), BROKEN),
        (Replying(error=asyncio.CancelledError()), BROKEN),
    ],
    ids=["whole", "streamed", "a bug's reply", "left in mid-stream", "left before", "a bug in mid-stream", "cancelled"],
)
async def test_the_status_is_that_of_a_whole_reply_or_says_why_there_is_none(
    app: Replying, status: int, logs: Logs
) -> None:
    counted = Counted()
    with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError):
        await Access(app, counted)(scope_of(), Receiving(b""), Sending())
    assert counted.requests == [("unmatched", status)]
    assert [log["status"] for log in logs] == [status]


async def test_a_request_is_logged_with_its_route_its_id_and_its_time(logs: Logs) -> None:
    counted, scope = Counted(), {**scope_of(path="/v1/score/secret"), REQUEST_ID: "abc"}
    await Access(Replying(False), counted)(scope, Receiving(b""), Sending())
    [log] = logs
    # The route, never the path, which anybody may write.
    assert (log["event"], log["route"], log["request_id"]) == ("request", "unmatched", "abc")
    assert counted.seconds[0] >= 0
    assert float(scope[RECEIVED_AT]) > 0


async def test_what_is_no_http_request_is_not_counted() -> None:
    counted = Counted()
    await Access(Replying(), counted)({"type": "lifespan"}, Receiving(b""), Sending())
    assert counted.requests == []
