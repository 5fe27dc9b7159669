"""Requests that are repeated under an Idempotency-Key: the key belongs to one body.

Nothing of a reply is kept here. What a request proved is in the cache of values, where the same request finds it, and
what it is still proving is joined there.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.exceptions import HTTPException

from mrt_reward.server.calls import Caller

KEEP_S = 600.0
MAX_KEYS = 10_000
"""About 400 bytes each, where the keys are as long as they may be."""


class Repeats:
    """Which body each key came with in the last ten minutes; the keys used least recently are forgotten first.

    Args:
        clock: seconds, never going back.

    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._known)

    async def refuse_another_body(self, caller: Caller) -> None:
        """Note the body that a caller's key stands for, if there is a key.

        Raises:
            HTTPException: 409, the key stands for another one.

        """
        if caller.key is None:
            return
        path, body = caller.request.url.path.encode(), await caller.request.body()
        # In a thread, because a body may hold 32 MB.
        digest = await asyncio.to_thread(lambda: hashlib.blake2b(path + b"\0" + body, digest_size=20).digest())
        self.note(caller.key, digest)

    def note(self, key: str, digest: bytes) -> None:
        """Note a key and the digest of what was asked under it; raises as `refuse_another_body` does."""
        now = self._clock()
        while self._known and next(iter(self._known.values()))[1] <= now:
            self._known.popitem(last=False)
        known, _ = self._known.pop(key, (digest, now))
        self._known[key] = (known, now + KEEP_S)
        if len(self._known) > MAX_KEYS:
            self._known.popitem(last=False)
        if known != digest:
            raise HTTPException(409, "Idempotency-Key: it was used for another request; send a new one")
