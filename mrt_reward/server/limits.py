"""What a request must pass before it is read: key, size, encoding, shape of its JSON."""

from __future__ import annotations

import hmac
import json
import math
import re
import time
import uuid
import zlib
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import structlog
from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrt_reward.server.errors import error_response
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.types import ErrorInfo

logger = structlog.stdlib.get_logger(__name__)

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/version"})
"""Read by probes and scrapers, which hold no key."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Gate:
    """ASGI middleware: request id, access log, API key, and a bound on the body, counted decompressed.

    Args:
        app: what is behind it.
        telemetry: where requests are counted.
        max_body_bytes: largest body.
        api_key: what callers must send as `Authorization: Bearer KEY`; None asks for nothing.

    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, max_body_bytes: int, api_key: str | None) -> None:
        self._app = app
        self._telemetry = telemetry
        self._max_body_bytes = max_body_bytes
        self._expected = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")[:200] or uuid.uuid4().hex
        started = time.perf_counter()
        status = 499  # the caller hung up before there was an answer

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = re.sub(r"[^\x20-\x7e]", "?", request_id)
            await send(message)

        try:
            await self._pass(scope, headers, receive, answer)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
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
            body = await self._read(headers, receive)
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
            plain = [(name, value) for name, value in scope["headers"] if name not in (b"content-encoding",)]
            scope = {**scope, "headers": plain}
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, replay, watched)
        except Exception as error:
            logger.error("request_failed", exc_info=error)
            if not started:
                info = ErrorInfo(f"internal error ({type(error).__name__})", "InternalError", "internal_error")
                await error_response(500, info)(scope, receive, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        encoding = headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip"):
            raise HTTPException(400, f"Content-Encoding: expected gzip or identity, got {encoding[:50]!r}")
        inflater = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        body = bytearray()
        while True:
            message = await receive()
            chunk = message.get("body", b"")
            try:
                # One byte past the limit is enough to know, and a bomb is never inflated further.
                room = self._max_body_bytes + 1 - len(body)
                body += inflater.decompress(chunk, max(room, 1)) if inflater else chunk
            except zlib.error as error:
                raise HTTPException(400, f"the body is not gzip: {error}") from error
            if len(body) > self._max_body_bytes:
                raise HTTPException(413, f"the body is over {self._max_body_bytes} bytes: send fewer traces at once")
            if not message.get("more_body", False):
                if inflater is not None and not inflater.eof:
                    raise HTTPException(400, "the body is not gzip, or ends too early")
                return bytes(body)


class StrictRequest(Request):
    """Parses JSON as the standard has it: no NaN, no infinities, no lone surrogates."""

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        """The body."""
        body = await self.body()
        try:
            value = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
        except RecursionError as error:
            raise HTTPException(400, "the body is nested too deeply") from error
        except ValueError as error:
            raise HTTPException(400, f"the body is not JSON: {error}") from error
        if b"\\ud" in body.lower() and _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
            raise HTTPException(400, "the body holds a lone surrogate, which is no Unicode text")
        return value


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
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
