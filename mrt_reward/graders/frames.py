"""How a worker talks: length-prefixed JSON, never a pickle.

A frame is four big-endian bytes of length and that much ASCII JSON; lone surrogates travel as escapes. On its way to a
worker an item may have an order in front of its JSON: how long, and by whom.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

MAX_FRAME_BYTES = 64 * 2**20
HEADER = struct.Struct(">I")
_ORDER = struct.Struct(">Bd?")

Payload = Mapping[str, object]


Deadline = Callable[[], float]


class FrameTimeout(Exception):
    """The other side did not finish its frame in time."""


@dataclass(frozen=True, slots=True)
class Order:
    """How a worker shall judge the item that follows.

    Attributes:
        limit_s: less than the worker's own limit, for a quick look; None is the worker's own.
        fresh: by a child that has judged nothing yet.

    """

    limit_s: float | None = None
    fresh: bool = False


def body_of(payload: Payload) -> bytes:
    """A frame's body: ASCII JSON."""
    return json.dumps(payload, ensure_ascii=True).encode("ascii")


def framed(body: bytes) -> bytes:
    """A body as one frame."""
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame holds at most {MAX_FRAME_BYTES} bytes, got {len(body)}")
    return HEADER.pack(len(body)) + body


def encode(payload: Payload) -> bytes:
    """A payload as one frame."""
    return framed(body_of(payload))


def ordered(order: Order, body: bytes) -> bytes:
    """A body with its order in front. No JSON begins with a zero byte, as an order does."""
    return _ORDER.pack(0, -1.0 if order.limit_s is None else order.limit_s, order.fresh) + body


def split_order(body: bytes) -> tuple[Order, bytes]:
    """What `ordered` was given; the text itself is not looked at."""
    if body[:1] != b"\0":
        return Order(), body
    _, limit_s, fresh = _ORDER.unpack_from(body)
    return Order(None if limit_s < 0 else limit_s, fresh), body[_ORDER.size :]


def decode(body: bytes) -> dict[str, object]:
    """The payload of a frame's body."""
    payload: object = json.loads(body)
    if not isinstance(payload, dict):
        raise TypeError(f"a frame holds a JSON object, got {type(payload).__name__}")
    return cast("dict[str, object]", payload)


def write(fd: int, frame: bytes) -> None:
    """All of a frame to a blocking descriptor."""
    view = memoryview(frame)
    while view:
        view = view[os.write(fd, view) :]


def read(fd: int, *, deadline: Deadline | None = None, hangup_fd: int | None = None) -> bytes | None:
    """The next frame's body; None once the other side has closed.

    Args:
        fd: file descriptor to read from.
        deadline: on the monotonic clock, asked again when it has come; None waits for ever.
        hangup_fd: stop waiting, as at the deadline, when the writer of this descriptor goes away.

    Raises:
        FrameTimeout: the deadline passed first.

    """
    header = _read_exactly(fd, HEADER.size, deadline, hangup_fd)
    if header is None:
        return None
    (size,) = HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        return None
    return _read_exactly(fd, size, deadline, hangup_fd)


def _read_exactly(fd: int, size: int, deadline: Deadline | None, hangup_fd: int | None) -> bytes | None:
    parts: list[bytes] = []
    while size:
        if deadline is not None:
            _wait_readable(fd, deadline, hangup_fd)
        try:
            part = os.read(fd, min(size, 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _wait_readable(fd: int, deadline: Deadline, hangup_fd: int | None) -> None:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if hangup_fd is not None:
        poller.register(hangup_fd, 0)
    while True:
        left_s = deadline() - time.monotonic()
        events = poller.poll(max(0.0, left_s) * 1000)
        if any(ready == fd for ready, _ in events):
            return
        if events or left_s <= 0:
            raise FrameTimeout
