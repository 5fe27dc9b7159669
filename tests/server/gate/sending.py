"""A body as an ASGI server hands it over, and a reply as it gets one."""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Message


class Receiving:
    """Gives a body in these pieces, and counts how often it is asked.

    Args:
        pieces: of the body.
        leaves: whether the caller hangs up after the last piece; after each it seemed that more would come.

    """

    def __init__(self, *pieces: bytes, leaves: bool = False) -> None:
        self.num_asked = 0
        self._pieces = list(pieces)
        self._leaves = leaves

    async def __call__(self) -> Message:
        self.num_asked += 1
        if not self._pieces and self._leaves:
            return {"type": "http.disconnect"}
        piece = self._pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or self._leaves}


class Sending:
    """Takes a reply."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def error(self) -> dict[str, Any]:
        body = b"".join(message.get("body", b"") for message in self.messages[1:])
        return dict(json.loads(body)["error"])


def scope_of(method: str = "POST", path: str = "/v1/score", **headers: str) -> dict[str, Any]:
    """An ASGI scope of one request."""
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": sent}
