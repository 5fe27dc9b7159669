"""A call ends with its work, its deadline, its caller or the server, whichever is first, and its work with it."""

from __future__ import annotations

import asyncio
import time

import pytest
from fastapi import FastAPI, Request
from starlette.types import Message

from mrt_reward.errors import DeadlineExceeded, Draining, TraceError
from mrt_reward.server.calls import Caller
from mrt_reward.server.gate.scope import RECEIVED_AT
from mrt_reward.server.gate.waiting import CallerGone, Stopping


class Connection:
    """A caller who is there until `leaves` is set."""

    def __init__(self) -> None:
        self.leaves = asyncio.Event()

    async def __call__(self) -> Message:
        await self.leaves.wait()
        return {"type": "http.disconnect"}


class Work:
    """Runs until it is let, and notes whether it was stopped."""

    def __init__(self) -> None:
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.stopped = False

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.stopped = True
            raise
        return "done"


@pytest.fixture
def connection() -> Connection:
    return Connection()


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    app.state.stopping = Stopping()
    return app


def _caller(app: FastAPI, connection: Connection, asked_s: float | None = None, ago_s: float = 0.0) -> Caller:
    scope = {"type": "http", "headers": [], "app": app, RECEIVED_AT: time.monotonic() - ago_s}
    return Caller(Request(scope, connection), asked_s)


async def test_work_that_ends_in_time_gives_its_result(app: FastAPI, connection: Connection) -> None:
    work = Work()
    work.go.set()
    assert await _caller(app, connection, 60).attend(work()) == "done"


async def test_what_the_work_raises_is_raised(app: FastAPI, connection: Connection) -> None:
    async def fails() -> None:
        raise TraceError("no")

    with pytest.raises(TraceError):
        await _caller(app, connection, 60).attend(fails())


async def test_a_deadline_that_passes_stops_the_work(app: FastAPI, connection: Connection) -> None:
    work = Work()
    with pytest.raises(DeadlineExceeded, match=r"0\.05 s"):
        await _caller(app, connection, 0.05).attend(work())
    assert work.stopped


@pytest.mark.parametrize(("why", "error"), [("leaves", CallerGone), ("stops", Draining)])
async def test_a_caller_who_hangs_up_and_a_server_that_stops_end_the_work_at_once(
    app: FastAPI, connection: Connection, why: str, error: type[Exception]
) -> None:
    work = Work()
    attending = asyncio.create_task(_caller(app, connection, 3600).attend(work()))
    await work.begun.wait()
    if why == "leaves":
        connection.leaves.set()
    else:
        app.state.stopping.now()
    with pytest.raises(error):
        await attending
    assert work.stopped


async def test_who_is_cancelled_stops_the_work(app: FastAPI, connection: Connection) -> None:
    work = Work()
    attending = asyncio.create_task(_caller(app, connection, 3600).attend(work()))
    await work.begun.wait()
    attending.cancel()
    await asyncio.gather(attending, return_exceptions=True)
    assert (attending.cancelled(), work.stopped) == (True, True)


@pytest.mark.parametrize(("asked_s", "seconds"), [(None, 30.0), (5.0, 5.0), (100.0, 30.0)])
async def test_the_servers_cap_holds_whatever_is_asked(
    app: FastAPI, connection: Connection, asked_s: float | None, seconds: float
) -> None:
    caller = _caller(app, connection, asked_s).capped(60.0, 30.0).capped(45.0)
    assert caller.seconds == seconds


async def test_time_runs_from_receipt(app: FastAPI, connection: Connection) -> None:
    caller = _caller(app, connection, 100.0, ago_s=40.0)
    assert 50 < caller.seconds_left <= 60
    assert _caller(app, connection, 10.0, ago_s=40.0).seconds_left == 0
    with pytest.raises(DeadlineExceeded):
        await _caller(app, connection, 10.0, ago_s=40.0).attend(Work()())
