"""What a request must pass before it is read: key, size, encoding, shape of its JSON."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import re
import time
import uuid
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, cast

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.server.calls import RECEIVED_AT
from mrt_reward.server.errors import error_response
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.types import ErrorInfo

logger = structlog.stdlib.get_logger(__name__)

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/version"})
"""Read by probes and scrapers, which hold no key."""

CALLER_GONE = 499
"""Counted for a caller who hung up before there was an answer."""

MAX_DEPTH = 64
"""Deepest nesting of a body; far above what the contract needs, far below what recursion stands."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Gate:
    """ASGI middleware: request id, access log, API key, and a bound on the body, counted decompressed.

    Args:
        app: what is behind it.
        telemetry: where requests are counted.
        max_body_bytes: largest body.
        api_key: what callers must send as `Authorization: Bearer KEY`; None asks for nothing.
        max_read_s: longest time for a body to arrive, in seconds.

    """

    def __init__(
        self, app: ASGIApp, telemetry: Telemetry, max_body_bytes: int, api_key: str | None, *, max_read_s: float = 600.0
    ) -> None:
        self._app = app
        self._telemetry = telemetry
        self._max_body_bytes = max_body_bytes
        self._max_read_s = max_read_s
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")[:200] or uuid.uuid4().hex
        started = scope[RECEIVED_AT] = time.monotonic()
        status = CALLER_GONE

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = re.sub(r"[^\x20-\x7e]", "?", request_id)
            await send(message)

        try:
            await self._pass(scope, headers, receive, answer)
        except Exception as error:  # the last boundary: reported here, and no other request is touched
            logger.exception("request_failed", request_id=request_id)
            if status == CALLER_GONE:
                info = ErrorInfo(f"internal error ({type(error).__name__})", "InternalError", "internal_error")
                await error_response(500, info)(scope, receive, answer)
            else:
                raise  # the reply has begun, so only the connection can tell that it is broken
        finally:
            seconds = time.monotonic() - started
            route = str(getattr(scope.get("route"), "path", "unmatched"))
            self._telemetry.count_request(route, status, seconds)
            logger.info("request", route=route, status=status, seconds=round(seconds, 4), request_id=request_id)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        given = headers.get("authorization", "").encode()
        if self._expected and scope["path"] not in OPEN_PATHS and not hmac.compare_digest(given, self._expected):
            info = ErrorInfo("send the API key as 'Authorization: Bearer KEY'", "Unauthorized", "unauthorized")
            response = error_response(401, info)
            response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(headers, receive), self._max_read_s)
        except (TimeoutError, asyncio.TimeoutError):
            info = ErrorInfo(f"the body did not arrive within {self._max_read_s:g} s", "InvalidRequest", "timeout")
            await error_response(408, info)(scope, receive, send)
            return
        except _CallerGone:
            return
        except HTTPException as error:
            info = ErrorInfo(str(error.detail), "InvalidRequest", "invalid_body")
            await error_response(error.status_code, info)(scope, receive, send)
            return
        unread = True

        async def replay() -> Message:
            nonlocal unread
            if unread:
                unread = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        if "content-encoding" in headers:
            plain = [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]
            scope["headers"] = plain
        await self._app(scope, replay, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise HTTPException(415, f"Content-Encoding: expected gzip or identity, got {encoding[:50]!r}")
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_body_bytes:
            raise self._too_large()
        inflater = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        body = bytearray()
        num_read = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _CallerGone
            chunk = message.get("body", b"")
            num_read += len(chunk)
            try:
                # One byte past the limit is enough to know, and a bomb is never inflated further.
                room = self._max_body_bytes + 1 - len(body)
                body += inflater.decompress(chunk, room) if inflater else chunk
            except zlib.error as error:
                raise HTTPException(400, f"the body is not gzip: {error}") from error
            if len(body) > self._max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                break
        if inflater and num_read and (not inflater.eof or inflater.unused_data):
            raise HTTPException(400, "the body is not one whole gzip stream")
        return bytes(body)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"the body is over {self._max_body_bytes} bytes: send fewer traces at once")


class _CallerGone(Exception):
    """The caller hung up while sending."""


class StrictRequest(Request):
    """Parses JSON as the standard has it: UTF-8, no NaN, no infinities, no lone surrogates, not too deep."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body."""
        body = await self.body()
        try:
            value = json.loads(body.decode(), parse_constant=_refuse_constant, parse_float=_finite)
        except RecursionError as error:
            raise _too_deep() from error
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"the body is not UTF-8 (byte {error.start})") from error
        except json.JSONDecodeError as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from error
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {str(error)[:200]}") from error
        _refuse_depth(value)
        if b"\\ud" in body.lower() and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
            raise HTTPException(400, "the body holds a lone surrogate, which is no Unicode text")
        return value


def _refuse_depth(value: object) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (cast("dict[str, Any]", node).values() if isinstance(node, dict) else cast("list[Any]", node))
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> HTTPException:
    return HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


class StrictRoute(APIRoute):
    """A route whose bodies are parsed strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the request."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if self.body_field is not None and kind != "application/json":
                raise HTTPException(415, f"Content-Type: expected application/json, got {kind[:100]!r}")
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
