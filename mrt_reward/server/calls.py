"""A call on behalf of a caller who has a deadline, may hang up, and may repeat themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request

from mrt_reward.errors import DeadlineExceeded

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_DEADLINE_MS = 86_400_000
RECEIVED_AT = "mrt_reward.received_at"
"""Key of the ASGI scope: when the request's head was there, in monotonic seconds."""


class CallerGone(Exception):
    """The caller hung up."""


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

    def late(self) -> DeadlineExceeded:
        """What a caller is told whose time ran out."""
        return DeadlineExceeded(f"not done within {self.seconds:g} s: send fewer traces at once, or allow more time")

    async def attend(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` until it is done, the deadline passes or the caller hangs up; then it is cancelled.

        Raises:
            DeadlineExceeded: the time ran out.
            CallerGone: nobody waits any more.

        """
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(self._hung_up())
        try:
            await asyncio.wait({task, gone}, timeout=self.seconds_left, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if gone.done():
                raise CallerGone
            raise self.late()
        finally:
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    async def _hung_up(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
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
    """Items as they come; those that a missed deadline cost are told by `rest`.

    The first item is not bounded here: whoever awaits it does so under `Caller.attend`.
    """
    timeout_s: float | None = None
    async with aclosing(items):
        while True:
            try:
                item = await asyncio.wait_for(anext(items), timeout_s)
            except StopAsyncIteration:
                return
            except (TimeoutError, asyncio.TimeoutError):
                break
            yield item
            timeout_s = caller.seconds_left
    for item in rest():
        yield item


async def collected(items: AsyncGenerator[Item]) -> list[Item]:
    """All items."""
    async with aclosing(items):
        return [item async for item in items]
