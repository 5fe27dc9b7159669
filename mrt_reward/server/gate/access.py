"""Every request in the log and in the metrics, with its status and its time."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.scope import RECEIVED_AT, REQUEST_ID

logger = structlog.stdlib.get_logger(__name__)

CALLER_GONE = 499
"""Counted for a caller who hung up before the whole answer was there."""

BROKEN = 500
"""Counted where the application raised in the middle of its reply, whatever status that began with."""

Count = Callable[[str, int, float], None]
"""Takes route, status and seconds of a request."""


class Access(Middleware):
    """Logs and counts.

    Args:
        app: what is behind it.
        count: called for every request.

    """

    def __init__(self, app: ASGIApp, count: Count) -> None:
        super().__init__(app)
        self._count = count

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, and log and count it with its time."""
        began = scope[RECEIVED_AT] = time.monotonic()
        status, complete, raised = CALLER_GONE, False, True

        async def noted(message: Message) -> None:
            nonlocal status, complete
            await send(message)
            if message["type"] == "http.response.start":
                status = int(message["status"])
            else:
                complete = not message.get("more_body", False)

        try:
            await self._app(scope, receive, noted)
            raised = False
        finally:
            status = status if complete else BROKEN if raised else CALLER_GONE
            seconds = time.monotonic() - began
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            self._count(route, status, seconds)
            logger.info(
                "request", route=route, status=status, seconds=round(seconds, 4), request_id=scope.get(REQUEST_ID)
            )
