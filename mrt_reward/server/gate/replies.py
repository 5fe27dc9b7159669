"""What a request gets that fails: one shape, with the status that tells its caller what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mrt_reward.errors import (
    DeadlineExceeded,
    Draining,
    GraderError,
    MRTRewardError,
    Overloaded,
    ProverUnavailable,
    ServiceError,
    StoreUnavailable,
    TraceError,
    WeightsError,
    WeightsUnsupported,
)
from mrt_reward.types import ErrorInfo
from mrt_reward.wire import ErrorBody

STATUS: Sequence[tuple[type[MRTRewardError], HTTPStatus]] = (
    (TraceError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Overloaded, HTTPStatus.TOO_MANY_REQUESTS),
    (Draining, HTTPStatus.SERVICE_UNAVAILABLE),
    (StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (ProverUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (GraderError, HTTPStatus.SERVICE_UNAVAILABLE),
    (WeightsUnsupported, HTTPStatus.NOT_IMPLEMENTED),
    (WeightsError, HTTPStatus.UNPROCESSABLE_ENTITY),
)


class RequestRefused(HTTPException):
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
        """The reply that says so."""
        info = ErrorInfo(self.detail, "InvalidRequest", self.code)
        return error_response(self.status_code, info, self.retry_after_s)


class InvalidBody(HTTPException):
    """A body that is JSON and breaks the schema.

    Args:
        found: what pydantic found wrong.
        record: type that the body must be; None where no names are known.

    """

    def __init__(self, found: Sequence[Any], record: Any = None) -> None:  # noqa: ANN401 - a type
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY)
        self.found = found
        self.record = record


def error_response(status: int, info: ErrorInfo, retry_after_s: float | None = None) -> JSONResponse:
    """An error body, with `Retry-After` where waiting helps."""
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, round(retry_after_s)))}
    # A plain number: before Python 3.11, an HTTPStatus is written with its name.
    return JSONResponse(ErrorBody(error=info).model_dump(mode="json"), int(status), headers)


def reply_to(error: MRTRewardError) -> JSONResponse:
    """The reply to a request that ended in one of our own errors.

    What is wrong with a trace is said within a reply, so what ends the request is wrong with the request.
    """
    status = next((status for kind, status in STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
    wait = error.retry_after_s if isinstance(error, ServiceError) else 1.0 if error.retryable else None
    info = ErrorInfo.of(error)
    if isinstance(error, TraceError):
        code = "invalid_request" if error.code == TraceError.code else error.code
        info = replace(info, type="InvalidRequest", code=code)
    return error_response(status, info, wait)
