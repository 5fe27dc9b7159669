"""Work that several requests may wait for: one that is repeated under its Idempotency-Key is not done twice."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from starlette.exceptions import HTTPException

from mrt_reward.errors import Draining

Item = TypeVar("Item")

KEEP_S = 600.0
MAX_KEPT = 512
MAX_KEPT_BYTES = 64_000_000
MAX_STOP_S = 5.0
"""How long the last reader waits for the work to stop."""


class Recording(Generic[Item]):
    """What one piece of work gives, item by item, for any number of readers.

    The work starts with the first reader, and is stopped when the last one leaves before its end.
    """

    def __init__(self, work: AsyncGenerator[Item]) -> None:
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


async def once(work: Coroutine[Any, Any, Item]) -> AsyncGenerator[Item]:
    """The one result of `work`, as a recording takes it."""
    yield await work


@dataclass(frozen=True, slots=True)
class _Kept:
    fingerprint: bytes
    num_bytes: int
    forgotten_at: float
    recording: Recording[Any]


class Replays:
    """Recordings by Idempotency-Key, the least recently used forgotten first, and each after ten minutes.

    Args:
        clock: seconds, never going back.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._num_bytes = 0

    def recording(
        self, key: str | None, request: tuple[str, bytes], work: Callable[[], AsyncGenerator[Item]]
    ) -> Recording[Item]:
        """The recording of an identical earlier request with this key, or a new one of `work`.

        Args:
            key: of the caller; None shares nothing.
            request: path and body.
            work: begins anew.

        Raises:
            HTTPException: 409, the key was used for another request.

        """
        if key is None:
            return Recording(work())
        path, body = request
        fingerprint = hashlib.blake2b(path.encode() + b"\0" + body, digest_size=20).digest()
        kept = self._kept.get(key)
        if kept is not None and kept.recording.reusable and kept.forgotten_at > self._clock():
            if kept.fingerprint != fingerprint:
                raise HTTPException(409, "Idempotency-Key: it was used for another request; send a new one")
            self._kept.move_to_end(key)
            return cast("Recording[Item]", kept.recording)
        self._forget(key)
        recording = Recording(work())
        self._kept[key] = _Kept(fingerprint, len(body), self._clock() + KEEP_S, recording)
        self._num_bytes += len(body)
        while len(self._kept) > MAX_KEPT or (self._num_bytes > MAX_KEPT_BYTES and len(self._kept) > 1):
            self._forget(next(iter(self._kept)))
        return recording

    def _forget(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._num_bytes -= kept.num_bytes
