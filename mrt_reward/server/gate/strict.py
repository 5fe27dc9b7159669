"""Bodies from text to records, off the event loop where they are large.

JSON is as the standard has it: UTF-8, each key once, no NaN, no infinities, no lone surrogates.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope

from mrt_reward.server.gate.pieces import Broken, read
from mrt_reward.server.gate.replies import InvalidBody, RequestRefused
from mrt_reward.server.gate.scan import JSONScan, scanned
from mrt_reward.server.gate.scope import SCAN

SMALL_BYTES = 65_536
"""A body that is parsed faster than a thread is found for it."""

MAX_OBJECT_KEYS = 64
"""Most keys of an object that is not metadata: twice what the contract knows."""


class StrictRequest(Request):
    """A request whose body is parsed strictly, and validated with it.

    Args:
        scope: ASGI scope of the request.
        receive: ASGI channel that gives the body.
        record: what the body must be; None leaves it as it is.
        kind: the type that `record` reads.

    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        record: TypeAdapter[Any] | None = None,
        kind: Any = None,  # noqa: ANN401 - a type
    ) -> None:
        super().__init__(scope, receive)
        self._record = record
        self._kind = kind

    async def json(self) -> Any:  # noqa: ANN401 - any JSON, or a record
        """The body; FastAPI takes a record as it is."""
        body = await self.body()
        scan = self.scope.get(SCAN)
        if len(body) <= SMALL_BYTES:
            return self._read(body, scan)
        return await asyncio.to_thread(self._read, body, scan)

    def _read(self, body: bytes, scan: JSONScan | None) -> Any:  # noqa: ANN401 - as above
        value = parsed(body, scan)
        _refuse_many_keys(value)
        if self._record is None:
            return value
        try:
            return self._record.validate_python(value)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise InvalidBody(found, self._kind) from error


def parsed(body: bytes, scan: JSONScan | None = None) -> object:
    """The value that a body spells.

    Args:
        body: JSON text, UTF-8.
        scan: what was counted in it; None counts it here.

    Raises:
        RequestRefused: it is not JSON, or not as strict as asked for; 400.

    """
    scan = scan or scanned(body)
    try:
        value = read(body)
    except Broken as error:
        raise RequestRefused(400, _why(error)) from error
    if scan.may_overflow and not _all_finite(value):
        raise RequestRefused(400, "the body is not JSON: a number is too large")
    return value


def _refuse_many_keys(value: object) -> None:
    """Each unknown key costs an error of its own, which takes longer than anything else that a body can ask for."""
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            fields = cast("dict[str, object]", node)
            if len(fields) > MAX_OBJECT_KEYS:
                raise RequestRefused(
                    422,
                    f"an object has {len(fields)} keys, expected at most {MAX_OBJECT_KEYS}: put your own into metadata",
                )
            waiting += [each for name, each in fields.items() if name != "metadata" and isinstance(each, dict | list)]
        elif isinstance(node, list):
            waiting += [each for each in cast("list[object]", node) if isinstance(each, dict | list)]


def _why(broken: Broken) -> str:
    try:
        broken.piece.decode()
    except UnicodeDecodeError as error:
        return f"the body is not UTF-8 (byte {broken.start + error.start})"
    message = f"{broken}, counted from byte {broken.start}" if broken.start else str(broken)
    if "surrogate" in message or "hex escape" in message:
        return f"the body holds a lone surrogate, which is no Unicode text: {message[:200]}"
    if message.startswith("Detected duplicate key"):
        return f"the body names a key twice, so that one of its values would be lost: {message[:200]}"
    constants = [word for word in ("NaN", "Infinity") if word.encode() in broken.piece]
    hint = (
        f" ({' and '.join(constants)} is not a JSON number)"
        if constants and ("expected value" in message or "number" in message)
        else ""
    )
    return f"the body is not JSON: {message[:200]}{hint}"


def _all_finite(value: object) -> bool:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, int | float) and not abs(node) <= sys.float_info.max:
            return False
        if isinstance(node, dict):
            waiting.extend(cast("dict[str, object]", node).values())
        elif isinstance(node, list):
            waiting.extend(cast("list[object]", node))
    return True


class StrictRoute(APIRoute):
    """A route that takes JSON by name and parses it strictly.

    Every POST and DELETE must say `Content-Type: application/json`, with a body or without: a browser asks before it
    sends that for another site's page, and no server of ours agrees.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """A handler that parses the body strictly first."""
        handler = super().get_route_handler()
        field = self.body_field
        body: Any = None if field is None else field.field_info.annotation
        record: TypeAdapter[Any] | None = None if body is None else TypeAdapter(body)

        async def strict(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if request.method not in ("GET", "HEAD") and kind != "application/json":
                raise RequestRefused(415, f"Content-Type: expected application/json, got {kind[:100]!r}")
            return await handler(StrictRequest(request.scope, request.receive, record, body))

        return strict
