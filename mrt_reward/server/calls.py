"""A call on behalf of a caller who has a deadline, may hang up, and may repeat themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request
from starlette.types import Receive

from mrt_reward.errors import DeadlineExceeded, ServiceError
from mrt_reward.server.gate.scope import RECEIVED_AT
from mrt_reward.server.gate.waiting import CallerGone, Stopping, ended
from mrt_reward.wire import MAX_DEADLINE_MS

Result = TypeVar("Result")


class Caller:
    """Who asks: until when, under which key, and whether anybody is still there.

    Args:
        request: as it came.
        asked_s: seconds from receipt that the caller grants; None leaves it to the server.
        key: of repeated requests.

    """

    def __init__(self, request: Request, asked_s: float | None = None, key: str | None = None) -> None:
        self.request = request
        self.key = key
        self._asked_s = asked_s
        self._received_at: float = request.scope.get(RECEIVED_AT, time.monotonic())
        self._cap_s = float("inf")
        self._stopping: Stopping = request.app.state.stopping

    def capped(self, *caps_s: float) -> Caller:
        """The same caller, who waits at most this long."""
        self._cap_s = min(self._cap_s, *caps_s)
        return self

    @property
    def seconds(self) -> float:
        """All the time that the call may take."""
        return self._cap_s if self._asked_s is None else min(self._asked_s, self._cap_s)

    @property
    def seconds_left(self) -> float:
        """Of that, what is left."""
        return max(0.0, self._received_at + self.seconds - time.monotonic())

    def _late(self) -> ServiceError:
        """The error for a caller whose time ran out, or whose server stops."""
        if self._stopping.begun:
            return self._stopping.error
        return DeadlineExceeded(f"not done within {self.seconds:g} s: send fewer traces at once, or allow more time")

    async def attend(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` until it is done, the deadline passes, the caller hangs up or the server stops; then cancel it.

        Raises:
            DeadlineExceeded: the time ran out.
            Draining: the server stops.
            CallerGone: nobody waits any more.

        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_hung_up(self.request.receive))
        stopped = asyncio.ensure_future(self._stopping.begins())
        try:
            await asyncio.wait({task, gone, stopped}, timeout=self.seconds_left, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise CallerGone
            raise self._late()
        finally:
            await ended(task, gone, stopped)


async def _hung_up(receive: Receive) -> None:
    """Return once the caller is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def caller_of(
    request: Request,
    x_deadline_ms: Annotated[
        int | None, Header(ge=1, le=MAX_DEADLINE_MS, description="Milliseconds from receipt; the server's cap holds.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="For ten minutes the key belongs to this body: with it, what is proved already is not proved "
            "again; with another, the request is refused.",
        ),
    ] = None,
) -> Caller:
    """The caller of a request, from its headers."""
    return Caller(request, None if x_deadline_ms is None else x_deadline_ms / 1000, idempotency_key)
