"""Requests refused before their body is read, where it would be read for nothing."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from mrt_reward.server.gate.middleware import Middleware

Admit = Callable[[str], None]
"""Raises, from a request's path, what the request would get after its body was read."""


class Admission(Middleware):
    """Asks whether there is room.

    Args:
        app: what is behind it.
        admit: asked before a body is read.

    """

    def __init__(self, app: ASGIApp, admit: Admit) -> None:
        super().__init__(app)
        self._admit = admit

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or refuse it."""
        self._admit(scope["path"])
        await self._app(scope, receive, send)
