"""The last boundary: whatever a request fails of becomes a reply, and no other request is touched."""

from __future__ import annotations

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from mrt_reward.errors import MRTRewardError
from mrt_reward.server.gate.middleware import Middleware
from mrt_reward.server.gate.replies import RequestRefused, error_response, reply_to
from mrt_reward.server.gate.scope import REQUEST_ID
from mrt_reward.server.gate.waiting import CallerGone
from mrt_reward.types import ErrorInfo

logger = structlog.stdlib.get_logger(__name__)


class Failures(Middleware):
    """Answers refusals and errors, logs our own bugs, and is silent to a caller who is gone."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except CallerGone:
            return
        except Exception as error:
            reply = _reply(error, scope)
            if begun:
                raise  # only the connection can tell that the reply is broken
            await reply(scope, receive, send)


def _reply(error: Exception, scope: Scope) -> Response:
    if isinstance(error, RequestRefused):
        return error.response()
    if isinstance(error, MRTRewardError):
        return reply_to(error)
    logger.error("request_failed", request_id=scope.get(REQUEST_ID), exc_info=error)
    info = ErrorInfo(f"internal error ({type(error).__name__})", "InternalError", "internal_error")
    return error_response(500, info)
