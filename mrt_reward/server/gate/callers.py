"""Who a request is from, as far as that shows: the address that it comes from."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from mrt_reward.protocols import asking_for


class Callers:
    """ASGI middleware after which all that a request has graded is its caller's.

    Those behind one proxy are one caller, whose requests take turns.

    Args:
        app: what is behind it.

    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, in a task of its own."""
        if scope["type"] == "http" and scope.get("client"):
            asking_for(scope["client"][0])
        await self._app(scope, receive, send)
