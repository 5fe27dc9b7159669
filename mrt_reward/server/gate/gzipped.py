"""Gzipped bodies, inflated while they arrive, in small pieces."""

from __future__ import annotations

import zlib

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.server.gate.scan import PIECE_BYTES


class Gzip(Middleware):
    """Hands gzipped bodies on as plain ones; refuses other encodings."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        encoding = Headers(scope=scope).get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise RequestRefused(415, f"Content-Encoding: expected gzip or identity, got {encoding[:50]!r}")
        if encoding == "gzip":
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]
            receive = Inflating(receive)
        await self._app(scope, receive, send)


class Inflating:
    """A body's messages, inflated; a bomb is never inflated further than somebody asks.

    Args:
        receive: gives the body as it was sent.

    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._inflater = zlib.decompressobj(wbits=31)
        self._num_received = 0
        self._rest = b""
        """What was received and not inflated yet."""
        self._full = False
        """Whether the inflater may hold more than it gave."""
        self._more = True
        """Whether more is to be received."""

    async def __call__(self) -> Message:
        """The next piece, of at most `PIECE_BYTES`.

        Raises:
            RequestRefused: it is not one whole gzip stream; 400.

        """
        if not (self._rest or self._full or self._more):
            return await self._receive()
        while self._more and not (self._rest or self._full):
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._rest, self._more = message.get("body", b""), message.get("more_body", False)
            self._num_received += len(self._rest)
        piece = self._inflated()
        return {"type": "http.request", "body": piece, "more_body": bool(self._rest or self._full or self._more)}

    def _inflated(self) -> bytes:
        try:
            piece = self._inflater.decompress(self._rest, PIECE_BYTES)
        except zlib.error as error:
            raise RequestRefused(400, f"the body is not gzip: {error}") from error
        whole = self._inflater.eof
        self._rest, self._full = self._inflater.unconsumed_tail, len(piece) == PIECE_BYTES and not whole
        last = not (self._rest or self._full or self._more)
        if (self._rest and whole) or self._inflater.unused_data or (last and self._num_received and not whole):
            raise RequestRefused(400, "the body is not one whole gzip stream")
        return piece
