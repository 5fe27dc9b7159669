"""What the routes raise, answered in the one shape, and the same for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mrt_reward.errors import MRTRewardError
from mrt_reward.mistakes import mistakes
from mrt_reward.server.gate.replies import InvalidBody, error_response, reply_to
from mrt_reward.types import ErrorInfo
from mrt_reward.wire import ErrorBody

RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}}

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {
        "model": ErrorBody,
        "description": description,
        **({"headers": RETRY_AFTER} if status in (429, 503, 504) else {}),
    }
    for status, description in (
        (400, "The body is not JSON, or a header is wrong."),
        (408, "The body did not arrive in time."),
        (409, "The Idempotency-Key was used for another request."),
        (401, "The API key is missing or wrong."),
        (
            403,
            "The key has another scope; or no key is set, and the request has an Origin, or its Host is not this "
            "server's.",
        ),
        (413, "The body is over the limit."),
        (415, "The body is neither plain nor gzipped application/json."),
        (422, "A field is wrong; `param` names it."),
        (500, "A bug; the reply says no more than its kind."),
        (501, "The engine cannot do this."),
        (429, "The queue is full, or the key's budget is spent; see Retry-After."),
        (503, "Not able to prove at present; see Retry-After."),
        (504, "The deadline passed."),
    )
}

MAX_NAMED = 3
"""Mistakes in a body that one reply names."""

MAX_READ = 50
"""Mistakes that are put into words to find these: a body may have many thousands."""

MAX_PATH_CHARS = 200
"""Of an unknown route, repeated in the reply."""

MAX_METHOD_CHARS = 20
"""Of a method, likewise."""


def install_error_handlers(app: FastAPI) -> None:
    """Answer every exception of a route in the one shape."""
    app.add_exception_handler(MRTRewardError, _on_ours)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(InvalidBody, _on_invalid_body)
    app.add_exception_handler(HTTPException, _on_http)


async def _on_ours(_: Request, error: Exception) -> JSONResponse:
    return reply_to(cast("MRTRewardError", error))


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    found = cast("RequestValidationError", error).errors()
    where = found[0]["loc"][0] if found[0]["loc"] else "body"
    status = HTTPStatus.BAD_REQUEST if where == "header" else HTTPStatus.UNPROCESSABLE_ENTITY
    # The first part of a path says whether it is of the body.
    return _invalid(status, [{**each, "loc": each["loc"][1:] or each["loc"]} for each in found], None)


async def _on_invalid_body(_: Request, error: Exception) -> JSONResponse:
    invalid = cast("InvalidBody", error)
    return _invalid(invalid.status_code, invalid.found, invalid.record)


def _invalid(status: int, found: Sequence[Any], record: object) -> JSONResponse:
    """What is wrong, each with its path; the first path is the reply's `param`."""
    read = mistakes(found[:MAX_READ], record)
    num_more = len(found[MAX_READ:]) + len(read[MAX_NAMED:])
    more = f" (and {num_more} more)" if num_more else ""
    message = "; ".join(f"{each.param or 'body'}: {each.message}" for each in read[:MAX_NAMED]) + more
    return error_response(status, ErrorInfo(message, "InvalidRequest", "invalid_request", read[0].param or None))


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    http = cast("HTTPException", error)
    phrase = HTTPStatus(http.status_code).phrase
    message = str(http.detail)
    if http.status_code == HTTPStatus.NOT_FOUND:
        where = getattr(request.app.state, "elsewhere", "") or "/docs and /openapi.json list those there are"
        message = f"there is no route {request.url.path[:MAX_PATH_CHARS]}: {where}"
    elif http.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (http.headers or {}).get("Allow", "")
        message = f"{request.method[:MAX_METHOD_CHARS]} does not go with this route: send {allowed}"
    response = error_response(http.status_code, ErrorInfo(message, "HTTPError", phrase.lower().replace(" ", "_")))
    response.headers.update(http.headers or {})
    return response
