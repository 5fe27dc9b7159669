"""A name for every request, in its reply and in the log."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.scope import REQUEST_ID

MAX_CHARS = 200

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class RequestIds(Middleware):
    """Takes the caller's `X-Request-ID`, or makes one, and sends it back."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and give it an id."""
        given = Headers(scope=scope).get("x-request-id", "")[:MAX_CHARS]
        request_id = scope[REQUEST_ID] = _UNPRINTABLE.sub("?", given) or uuid.uuid4().hex

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        await self._app(scope, receive, named)
