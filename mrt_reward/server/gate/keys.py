"""The keys, where any is set."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from mrt_reward.server.gate.keyring import Holder, Keyring
from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.replies import RequestRefused, error_response
from mrt_reward.server.gate.scope import HOLDER
from mrt_reward.types import ErrorInfo

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/metrics", "/version"})
"""Read by probes and scrapers, which hold no key; and by a person who has yet to type one (`/`)."""


class Key(Middleware):
    """Lets nobody in without a key of the port's scope, before anything of the request is read.

    Args:
        app: what is behind it.
        keyring: the keys, one of which callers must send as `Authorization: Bearer KEY`.

    """

    def __init__(self, app: ASGIApp, keyring: Keyring) -> None:
        super().__init__(app)
        self._keyring = keyring

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        authorization = Headers(scope=scope).get("authorization", "")
        holder = self._holder(authorization)
        if holder is None:
            response = error_response(401, ErrorInfo(_refusal(authorization), "Unauthorized", "unauthorized"))
            response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        if self._keyring.scope not in holder.scopes:
            raise RequestRefused(
                403,
                f"this key has scope {', '.join(sorted(holder.scopes))}, and this port asks for "
                f"{self._keyring.scope}: send a key that has it",
                "forbidden",
            )
        if holder.name is not None:
            scope[HOLDER] = holder.name
        await self._app(scope, receive, send)

    def _holder(self, authorization: str) -> Holder | None:
        scheme, _, key = authorization.partition(" ")
        return self._keyring.holder(key.encode("latin-1")) if scheme == "Bearer" else None


def _refusal(authorization: str) -> str:
    how = "send the API key as 'Authorization: Bearer KEY'"
    if not authorization:
        return f"no key came: {how}"
    scheme, _, key = authorization.partition(" ")
    if scheme != "Bearer" or not key:
        return f"the header Authorization holds no key: {how}"
    return "this key is not known: send one that this server was started with"
