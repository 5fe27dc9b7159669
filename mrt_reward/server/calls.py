"""A call on behalf of a caller who has a deadline, may hang up, and may repeat themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request
from starlette.types import Receive

from mrt_reward.errors import DeadlineExceeded, Draining, ServiceError
from mrt_reward.wire import MAX_DEADLINE_MS

Item = TypeVar("Item")
Result = TypeVar("Result")

RECEIVED_AT = "mrt_reward.received_at"
"""Key of the ASGI scope: when the request's head was there, in monotonic seconds."""


GONE = "mrt_reward.caller_gone"
"""Key of the ASGI scope: true once the caller hung up in the middle of the reply."""


class CallerGone(Exception):
    """The caller hung up."""


class Stopping:
    """Whether the server still waits for anything: shared by all requests of an application."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def now(self) -> None:
        """Wait for nothing from now on."""
        self._event.set()

    @property
    def begun(self) -> bool:
        """Whether that was said."""
        return self._event.is_set()

    @property
    def error(self) -> Draining:
        """What a caller is told whose work is given up."""
        return Draining("the server stops and gives this request up: send it to another, or again", retry_after_s=5.0)

    async def begins(self) -> None:
        """Return once nothing is waited for any longer."""
        await self._event.wait()

    async def unless(self, work: Coroutine[Any, Any, Result], timeout_s: float) -> Result:
        """Run `work` to its end; cancelled when the time is over, or when nothing is waited for any longer.

        Raises:
            TimeoutError: the time is over.
            Draining: the server stops.

        """
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.begins())
        try:
            await asyncio.wait({task, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise self.error if stopped.done() else TimeoutError
        finally:
            await ended(task, stopped)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what is not done, and wait until it is."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
        self.stopping: Stopping = request.app.state.stopping

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

    def late(self) -> ServiceError:
        """What a caller is told whose time ran out, or whose server stops."""
        if self.stopping.begun:
            return self.stopping.error
        return DeadlineExceeded(f"not done within {self.seconds:g} s: send fewer traces at once, or allow more time")

    async def attend(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` until it is done, the deadline passes, the caller hangs up or the server stops; then cancel it.

        Raises:
            DeadlineExceeded: the time ran out.
            Draining: the server stops.
            CallerGone: nobody waits any more.

        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(hung_up(self.request.receive))
        stopped = asyncio.ensure_future(self.stopping.begins())
        try:
            await asyncio.wait({task, gone, stopped}, timeout=self.seconds_left, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise CallerGone
            raise self.late()
        finally:
            await ended(task, gone, stopped)


async def hung_up(receive: Receive) -> None:
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
            description="The same key with the same body gives the same result for ten minutes, scored once.",
        ),
    ] = None,
) -> Caller:
    """The caller of a request, from its headers."""
    return Caller(request, None if x_deadline_ms is None else x_deadline_ms / 1000, idempotency_key)


async def until_late(
    items: AsyncGenerator[Item], caller: Caller, rest: Callable[[], list[Item]]
) -> AsyncGenerator[Item]:
    """Items as they come; those that a missed deadline or the server's stop cost are told by `rest`.

    The first item is not bounded here: whoever awaits it does so under `Caller.attend`.
    """
    timeout_s: float | None = None
    stopped = asyncio.ensure_future(caller.stopping.begins())
    async with aclosing(items):
        try:
            while True:
                upcoming = asyncio.ensure_future(_next(items))
                try:
                    await asyncio.wait({upcoming, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                    if not upcoming.done():
                        break
                finally:
                    await ended(upcoming)
                if not (found := upcoming.result()):
                    return
                yield found[0]
                timeout_s = caller.seconds_left
        finally:
            await ended(stopped)
    for item in rest():
        yield item


async def _next(items: AsyncGenerator[Item]) -> tuple[Item] | None:
    """The next item; None at the end."""
    async for item in items:
        return (item,)
    return None


async def collected(items: AsyncGenerator[Item]) -> list[Item]:
    """All items."""
    async with aclosing(items):
        return [item async for item in items]
