"""The outermost middleware: request id, log and count of every request, and the last boundary for our own bugs."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.server.calls import GONE, RECEIVED_AT
from mrt_reward.server.errors import error_response
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.types import ErrorInfo

logger = structlog.stdlib.get_logger(__name__)

CALLER_GONE = 499
"""Counted for a caller who hung up before the whole answer was there."""


class Access:
    """ASGI middleware that logs and counts.

    Args:
        app: what is behind it.
        telemetry: where requests are counted.

    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = re.sub(r"[^\x20-\x7e]", "?", Headers(scope=scope).get("x-request-id", "")[:200])
        request_id = asked or uuid.uuid4().hex
        started = scope[RECEIVED_AT] = time.monotonic()
        status = CALLER_GONE

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # the last boundary: reported here, and no other request is touched
            logger.exception("request_failed", request_id=request_id)
            if status == CALLER_GONE:
                info = ErrorInfo(f"internal error ({type(error).__name__})", "InternalError", "internal_error")
                await error_response(500, info)(scope, receive, answer)
            else:
                raise  # the reply has begun, so only the connection can tell that it is broken
        finally:
            status = CALLER_GONE if scope.get(GONE) else status
            seconds = time.monotonic() - started
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            self._telemetry.count_request(route, status, seconds)
            logger.info("request", route=route, status=status, seconds=round(seconds, 4), request_id=request_id)
