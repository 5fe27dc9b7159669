"""Bodies: bounded one by one and all together, in time and in memory, and counted while they arrive."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.server.gate.scan import PIECE_BYTES, JSONScan
from mrt_reward.server.gate.scope import SCAN
from mrt_reward.server.gate.waiting import CallerGone, Stopping

ITEM_BYTES = 100
"""Memory of a JSON value beyond its text, about."""


class Memory:
    """Room for the bodies of all requests that are not answered yet.

    Args:
        max_bytes: of all of them. A body that is alone always finds room.

    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held = 0
        """Bytes taken at present."""

    def refuse_if_full(self, own: int, more: int) -> None:
        """Raise where `more` bytes find no room beside what others hold.

        Raises:
            RequestRefused: the common memory is full; status 429.

        """
        if self.held > own and self.held + more > self._max_bytes:
            raise RequestRefused(
                429,
                f"the bodies of requests in flight hold {self.held} bytes, at most {self._max_bytes} are taken: send "
                "this one again later",
                "overloaded",
                retry_after_s=2.0,
            )


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Limits of the bodies that one port takes.

    Attributes:
        max_bytes: of one body, decompressed.
        max_read_s: longest time for one to arrive, in seconds.
        memory: shared by all.

    """

    max_bytes: int
    max_read_s: float
    memory: Memory

    def too_large(self) -> RequestRefused:
        """What a body over the limit gets."""
        return RequestRefused(413, f"the body is over {self.max_bytes} bytes: send fewer traces at once")


class Bodies(Middleware):
    """Reads a body, and hands it on whole.

    Args:
        app: what is behind it.
        limits: bounds of request bodies.
        stopping: set where nothing is waited for any longer.

    """

    def __init__(self, app: ASGIApp, limits: BodyLimits, stopping: Stopping) -> None:
        super().__init__(app)
        self._limits = limits
        self._stopping = stopping

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; what its body holds is counted until it is answered."""
        reading = BodyReader(Headers(scope=scope), self._limits)
        try:
            body = await self._read(reading, receive)
            scope[SCAN] = reading.scan
            await self._app(scope, _replay(body, receive), send)
        finally:
            reading.release()

    async def _read(self, reading: BodyReader, receive: Receive) -> bytes:
        try:
            return await self._stopping.unless(reading.whole(receive), self._limits.max_read_s)
        except (TimeoutError, asyncio.TimeoutError):
            message = f"the body did not arrive within {self._limits.max_read_s:g} s"
            raise RequestRefused(408, message, "timeout") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


class BodyReader:
    """Reads one body; what it holds is counted in the common memory until it is released.

    Args:
        headers: of the request.
        limits: on its body.

    """

    def __init__(self, headers: Headers, limits: BodyLimits) -> None:
        self.scan = JSONScan()
        self._declared = headers.get("content-length", "")
        self._limits = limits
        self._held = 0

    async def whole(self, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            RequestRefused: it is over a limit.
            CallerGone: the caller hung up while sending.

        """
        if self._declared.isdigit():
            if len(self._declared) > 18 or int(self._declared) > self._limits.max_bytes:
                raise self._limits.too_large()
            self._limits.memory.refuse_if_full(self._held, int(self._declared))
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise CallerGone
            chunk: bytes = message.get("body", b"")
            for start in range(0, len(chunk), PIECE_BYTES):
                self._take(chunk[start : start + PIECE_BYTES], len(body))
                body += chunk[start : start + PIECE_BYTES]
                await asyncio.sleep(0)
            more = message.get("more_body", False)
        return bytes(body)

    def _take(self, piece: bytes, num_read: int) -> None:
        if num_read + len(piece) > self._limits.max_bytes:
            raise self._limits.too_large()
        num_items = self.scan.num_items
        self.scan.feed(piece)
        self._hold(len(piece) + ITEM_BYTES * (self.scan.num_items - num_items))

    def release(self) -> None:
        """Give the room back."""
        self._limits.memory.held -= self._held
        self._held = 0

    def _hold(self, num_bytes: int) -> None:
        self._limits.memory.refuse_if_full(self._held, num_bytes)
        self._limits.memory.held += num_bytes
        self._held += num_bytes
