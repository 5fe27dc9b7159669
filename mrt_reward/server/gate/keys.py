"""The API key, where one is set."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.replies import error_response
from mrt_reward.types import ErrorInfo

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/version"})
"""Read by probes and scrapers, which hold no key."""


class Key(Middleware):
    """Lets nobody in without the key, before anything of the request is read.

    Args:
        app: what is behind it.
        key: what callers must send as `Authorization: Bearer KEY`.

    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        super().__init__(app)
        self._expected = f"Bearer {key}".encode()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        given = Headers(scope=scope).get("authorization", "").encode()
        if scope["path"] in OPEN_PATHS or hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        info = ErrorInfo("send the API key as 'Authorization: Bearer KEY'", "Unauthorized", "unauthorized")
        response = error_response(401, info)
        response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, send)
