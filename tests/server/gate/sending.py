"""A body as an ASGI server hands it over."""

from __future__ import annotations

from starlette.types import Message


class Receiving:
    """Gives a body in these pieces, and counts how often it is asked."""

    def __init__(self, *pieces: bytes) -> None:
        self.num_asked = 0
        self._pieces = list(pieces)

    async def __call__(self) -> Message:
        self.num_asked += 1
        piece = self._pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
