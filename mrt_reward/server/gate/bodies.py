"""Bodies: admitted before they are read, bounded one by one and all together, and counted while they arrive."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.errors import MRTRewardError
from mrt_reward.server.calls import Stopping
from mrt_reward.server.errors import reply_to
from mrt_reward.server.gate.refusal import Refusal
from mrt_reward.server.gate.scan import PIECE_BYTES, JSONScan
from mrt_reward.server.gate.strict import SCAN

ITEM_BYTES = 100
"""Memory of a JSON value beyond its text, about."""

Admission = Callable[[str, Headers], None]
"""Raises, from a request's path and headers, where its body would be read for nothing."""


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
            Refusal: 429.

        """
        if self.held > own and self.held + more > self._max_bytes:
            raise Refusal(
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

    def too_large(self) -> Refusal:
        """What a body over the limit gets."""
        return Refusal(413, f"the body is over {self.max_bytes} bytes: send fewer traces at once")


class Bodies:
    """ASGI middleware that reads a body, and hands it on whole.

    Args:
        app: what is behind it.
        limits: on bodies.
        stopping: set where nothing is waited for any longer.
        admit: asked before a body is read.

    """

    def __init__(self, app: ASGIApp, limits: BodyLimits, stopping: Stopping, admit: Admission | None = None) -> None:
        self._app = app
        self._limits = limits
        self._stopping = stopping
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reader = _Reader(Headers(scope=scope), self._limits)
        try:
            if self._admit is not None:
                self._admit(scope["path"], reader.headers)
            body = await self._stopping.unless(reader.read(receive), self._limits.max_read_s)
            scope[SCAN] = reader.scan
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]
            await self._app(scope, _replay(body, receive), send)
        except _CallerGone:
            return
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)
        except MRTRewardError as error:
            await reply_to(error)(scope, receive, send)
        except (TimeoutError, asyncio.TimeoutError):
            message = f"the body did not arrive within {self._limits.max_read_s:g} s"
            await Refusal(408, message, "timeout").response()(scope, receive, send)
        finally:
            reader.release()


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


class _CallerGone(Exception):
    """The caller hung up while sending."""


class _Reader:
    """Reads one body; what it holds is counted in the common memory until it is released."""

    def __init__(self, headers: Headers, limits: BodyLimits) -> None:
        self.headers = headers
        self.scan = JSONScan()
        self._limits = limits
        self._held = 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body, decompressed.

        Raises:
            Refusal: it is over a limit, or its encoding is not known or broken.

        """
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise Refusal(415, f"Content-Encoding: expected gzip or identity, got {encoding[:50]!r}")
        declared = self.headers.get("content-length", "")
        if declared.isdigit():
            if len(declared) > 18 or int(declared) > self._limits.max_bytes:
                raise self._limits.too_large()
            self._limits.memory.refuse_if_full(self._held, int(declared))
        pieces = _inflated(receive) if encoding == "gzip" else _plain(receive)
        body = bytearray()
        async with aclosing(pieces):
            async for piece in pieces:
                self._take(piece, len(body))
                body += piece
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


async def _plain(receive: Receive) -> AsyncGenerator[bytes]:
    """A body as it comes, in small pieces."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CallerGone
        chunk: bytes = message.get("body", b"")
        for start in range(0, len(chunk), PIECE_BYTES):
            yield chunk[start : start + PIECE_BYTES]
            if len(chunk) > PIECE_BYTES:
                await asyncio.sleep(0)
        more = message.get("more_body", False)


async def _inflated(receive: Receive) -> AsyncGenerator[bytes]:
    """A gzipped body, inflated in small pieces, so that a bomb is never inflated further than it is looked at."""
    inflater = zlib.decompressobj(wbits=31)
    num_read = 0
    async for chunk in _plain(receive):
        num_read += len(chunk)
        rest, full = chunk, True
        while not inflater.eof and (rest or full):
            try:
                piece = inflater.decompress(rest, PIECE_BYTES)
            except zlib.error as error:
                raise Refusal(400, f"the body is not gzip: {error}") from error
            rest, full = inflater.unconsumed_tail, len(piece) == PIECE_BYTES
            yield piece
            await asyncio.sleep(0)
        if rest or inflater.unused_data:
            raise Refusal(400, "the body is not one whole gzip stream")
    if num_read and not inflater.eof:
        raise Refusal(400, "the body is not one whole gzip stream")
