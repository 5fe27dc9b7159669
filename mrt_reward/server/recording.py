"""Work that several requests may wait for: one that is repeated under its Idempotency-Key is not done twice."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request

from mrt_reward.errors import Draining
from mrt_reward.server.gate.bodies import ITEM_BYTES
from mrt_reward.server.gate.scan import JSONScan
from mrt_reward.server.gate.strict import SCAN

Item = TypeVar("Item")

KEEP_S = 600.0
MAX_KEPT = 512
MAX_KEPT_BYTES = 64_000_000
MAX_STOP_S = 5.0
"""How long the last reader waits for the work to stop."""


class Recording(Generic[Item]):
    """What one piece of work gives, item by item, for any number of readers.

    The work starts with the first reader, and is stopped when the last one leaves before its end.

    Args:
        work: gives the items.
        kept: whether it is kept for later readers, and its memory counted.

    Attributes:
        num_bytes: memory of the items so far, where it is kept.

    """

    def __init__(self, work: AsyncGenerator[Item], *, kept: bool = False) -> None:
        self.num_bytes = 0
        self._kept = kept
        self._work = work
        self._items: list[Item] = []
        self._num_readers = 0
        self._grown = asyncio.Event()
        self._finished = False
        self._error: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def reusable(self) -> bool:
        """Whether another reader gets something: it did not fail, and was not given up."""
        return self._error is None

    async def read(self) -> AsyncGenerator[Item]:
        """All items from the first; raises what the work raised."""
        self._num_readers += 1
        self._task = self._task or asyncio.create_task(self._record())
        try:
            place = 0
            while True:
                while place < len(self._items):
                    yield self._items[place]
                    place += 1
                if self._finished:
                    break
                await self._grown.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._num_readers -= 1
            if self._num_readers == 0 and not self._finished:
                self._error = Draining("every caller of this request has left: send it again", retry_after_s=1.0)
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=MAX_STOP_S)

    async def _record(self) -> None:
        try:
            async with aclosing(self._work):
                async for item in self._work:
                    self._items.append(item)
                    self.num_bytes += held_bytes(item) if self._kept else 0
                    self._announce()
        except asyncio.CancelledError:
            self._error = self._error or Draining("the server is shutting down: use another replica")
            raise
        except Exception as error:  # noqa: BLE001 - every reader raises it again
            self._error = error
        finally:
            self._finished = True
            self._announce()

    def _announce(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


def held_bytes(item: object) -> int:
    """Memory of a result in bytes, about, without the metadata that it echoes."""
    num_bytes = 0
    waiting: list[object] = [item]
    while waiting:
        node = waiting.pop()
        num_bytes += sys.getsizeof(node)
        if isinstance(node, list | tuple):
            waiting.extend(cast("list[object]", node))
        elif isinstance(node, BaseModel):
            waiting.extend(value for name, value in node if name != "metadata")
        elif dataclasses.is_dataclass(node):
            names = (field.name for field in dataclasses.fields(node))
            waiting.extend(getattr(node, name) for name in names if name != "metadata")
    return num_bytes


async def once(work: Coroutine[Any, Any, Item]) -> AsyncGenerator[Item]:
    """The one result of `work`, as a recording takes it."""
    yield await work


@dataclass(frozen=True, slots=True)
class Asked:
    """What makes two requests the same, and what one holds.

    Attributes:
        fingerprint: of path and body.
        num_bytes: memory that the request takes, about.

    """

    fingerprint: bytes
    num_bytes: int

    @classmethod
    async def of(cls, request: Request) -> Asked:
        """Of a request whose body was counted while it arrived."""
        body = await request.body()
        scan = cast("JSONScan | None", request.scope.get(SCAN))
        prefix = request.url.path.encode() + b"\0"
        digest = await asyncio.to_thread(lambda: hashlib.blake2b(prefix + body, digest_size=20).digest())
        return cls(digest, len(body) + ITEM_BYTES * (scan.num_items if scan else 0))


@dataclass(frozen=True, slots=True)
class _Kept:
    asked: Asked
    forgotten_at: float
    recording: Recording[Any]

    @property
    def num_bytes(self) -> int:
        """Memory that it takes: what came in, which metadata echoes, and what came out."""
        return self.asked.num_bytes + self.recording.num_bytes


class Replays:
    """Recordings by Idempotency-Key, the least recently used forgotten first, and each after ten minutes.

    Args:
        clock: seconds, never going back.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def knows(self, key: str | None) -> bool:
        """Whether there is something to share under this key."""
        kept = None if key is None else self._kept.get(key)
        return kept is not None and kept.recording.reusable and kept.forgotten_at > self._clock()

    def recording(
        self, key: str | None, asked: Asked | None, work: Callable[[], AsyncGenerator[Item]]
    ) -> Recording[Item]:
        """The recording of an identical earlier request with this key, or a new one of `work`.

        Args:
            key: of the caller.
            asked: what was asked under it; without both nothing is shared.
            work: begins anew.

        Raises:
            HTTPException: 409, the key was used for another request.

        """
        if key is None or asked is None:
            return Recording(work())
        if self.knows(key):
            kept = self._kept[key]
            if kept.asked.fingerprint != asked.fingerprint:
                raise HTTPException(409, "Idempotency-Key: it was used for another request; send a new one")
            self._kept.move_to_end(key)
            return cast("Recording[Item]", kept.recording)
        self._kept.pop(key, None)
        recording = Recording(work(), kept=True)
        self._kept[key] = _Kept(asked, self._clock() + KEEP_S, recording)
        num_bytes = sum(kept.num_bytes for kept in self._kept.values())
        while len(self._kept) > MAX_KEPT or (num_bytes > MAX_KEPT_BYTES and len(self._kept) > 1):
            num_bytes -= self._kept.popitem(last=False)[1].num_bytes
        return recording
