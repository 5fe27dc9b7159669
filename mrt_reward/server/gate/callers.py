"""Who a request is from: the holder of its key, else the address that it comes from."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from mrt_reward.protocols import asking_for
from mrt_reward.server.gate.scope import HOLDER


class Callers:
    """ASGI middleware after which all that a request has proved and graded is its caller's.

    Those who share a key of `keys` are one caller, and so are those behind one proxy who have no key of their own;
    their requests take turns.

    Args:
        app: what is behind it.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, in a task of its own."""
        if scope["type"] == "http":
            client = scope.get("client")
            caller = scope.get(HOLDER) or (client[0] if client else None)
            if caller is not None:
                asking_for(caller)
        await self._app(scope, receive, send)
