"""A request that is refused before any route sees it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.responses import Response

from mrt_reward.server.errors import error_response
from mrt_reward.types import ErrorInfo


class Refusal(HTTPException):
    """What is wrong with a request, with the status and the words for its caller.

    Args:
        status: of the reply.
        message: what was expected, what came, what to do.
        code: machine-readable name.
        retry_after_s: seconds after which the same request may pass; None where it never will.

    """

    def __init__(
        self, status: int, message: str, code: str = "invalid_body", *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(status, message)
        self.code = code
        self.retry_after_s = retry_after_s

    def response(self) -> Response:
        """The reply."""
        info = ErrorInfo(self.detail, "InvalidRequest", self.code)
        return error_response(self.status_code, info, self.retry_after_s)
