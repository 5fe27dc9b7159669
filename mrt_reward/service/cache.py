"""Values that were already paid for: a store in memory, one on disk behind it, and one flight per key.

A key covers everything that can change a value, the version of the weights included, so entries never go stale;
they are only forgotten.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence

from mrt_reward.service.records import ENTRY_BYTES, Key, size_of
from mrt_reward.service.store import SQLiteStore
from mrt_reward.types import Value

__all__ = ["ENTRY_BYTES", "Key", "SQLiteStore", "ScoreCache"]


class ScoreCache:
    """Least-recently-used values in memory, optionally backed by disk, with concurrent requests for a key joined.

    Args:
        max_mb: memory for values, in megabytes.
        store: the disk behind it.

    """

    def __init__(self, max_mb: float = 64.0, store: SQLiteStore | None = None) -> None:
        self._max_bytes = max_mb * 1e6
        self._bytes = 0
        self._memory: OrderedDict[Key, Value] = OrderedDict()
        self.store = store
        self._flights: dict[Key, asyncio.Future[bool]] = {}
        self.hits = 0
        self.misses = 0

    async def resolve(
        self, keys: Sequence[Key], compute: Callable[[Sequence[int]], Awaitable[Sequence[Value]]]
    ) -> tuple[list[Value], int]:
        """Values of the keys, and how many of them `compute` did not have to give.

        Args:
            keys: distinct.
            compute: gives the values at these places of `keys`. Keys that another caller is computing are waited for
                instead; if that caller fails or leaves, they are computed here after all.

        """
        known: dict[Key, Value] = {}
        num_computed = 0
        while True:
            await self._look_up([key for key in keys if key not in known], known)
            missing = [index for index, key in enumerate(keys) if key not in known]
            mine = [index for index in missing if keys[index] not in self._flights]
            flights = [self._flights[keys[index]] for index in missing if keys[index] in self._flights]
            if mine:
                num_computed += len(mine)
                known.update(await self._fly([keys[index] for index in mine], mine, compute))
            if not flights:
                break
            await asyncio.wait(flights)
        self.hits += len(keys) - num_computed
        self.misses += num_computed
        return [known[key] for key in keys], len(keys) - num_computed

    async def _fly(
        self,
        keys: Sequence[Key],
        places: Sequence[int],
        compute: Callable[[Sequence[int]], Awaitable[Sequence[Value]]],
    ) -> dict[Key, Value]:
        flight: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._flights.update(dict.fromkeys(keys, flight))
        try:
            values = dict(zip(keys, await compute(places), strict=True))
            self._remember(values)
            return values
        finally:
            for key in keys:
                del self._flights[key]
            flight.set_result(True)

    async def _look_up(self, keys: Sequence[Key], known: dict[Key, Value]) -> None:
        for key in keys:
            if key in self._memory:
                self._memory.move_to_end(key)
                known[key] = self._memory[key]
        rest = [key for key in keys if key not in known]
        if self.store is not None and rest:
            found = await self.store.find(rest)
            self._hold(found)
            known.update(found)

    def _remember(self, values: Mapping[Key, Value]) -> None:
        # A value that our own failure touched is worth another try, so it is not kept.
        sound = {key: value for key, value in values.items() if value.value is not None and not value.ungraded}
        self._hold(sound)
        if self.store is not None and sound:
            self.store.put(sound)

    def _hold(self, values: Mapping[Key, Value]) -> None:
        for key, value in values.items():
            self._drop(self._memory.pop(key, None))
            self._memory[key] = value
            self._bytes += size_of(value)
        while self._bytes > self._max_bytes and len(self._memory) > 1:
            self._drop(self._memory.popitem(last=False)[1])

    def _drop(self, value: Value | None) -> None:
        self._bytes -= 0 if value is None else size_of(value)

    async def clear(self) -> None:
        """Forget all values; flights go on.

        Raises:
            StoreUnavailable: those in memory are forgotten, those on disk are not.

        """
        self._memory.clear()
        self._bytes = 0
        if self.store is not None:
            await asyncio.to_thread(self.store.clear)

    def close(self) -> None:
        """Close the disk store."""
        if self.store is not None:
            self.store.close()
