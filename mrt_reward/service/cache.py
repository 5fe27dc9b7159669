"""Values that were already paid for: a store in memory, one on disk or on a server behind it, and one flight per key.

A key covers everything that can change a value, the version of the weights included, so entries never go stale;
they are only forgotten.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from itertools import chain, repeat
from typing import Any

from mrt_reward.service.records import ENTRY_BYTES, Key, size_of
from mrt_reward.service.store import SQLiteStore, ValueStore
from mrt_reward.types import Value

__all__ = ["ENTRY_BYTES", "Key", "SQLiteStore", "ScoreCache"]


Compute = Callable[[Sequence[int]], Awaitable[Sequence[Value]]]


def _sound(values: Mapping[Key, Value]) -> dict[Key, Value]:
    """Those that no failure of ours touched: others are worth another try, so they are not kept."""
    return {key: value for key, value in values.items() if value.value is not None and not value.ungraded}


class _Flight:
    """Values that are being computed, for as long as somebody waits for them.

    Args:
        keys: of the values.
        work: computes the missing values.
        at_end: called once, however the work ends, before anybody who waits goes on.

    """

    def __init__(
        self, keys: Sequence[Key], work: Coroutine[Any, Any, dict[Key, Value]], at_end: Callable[[], None]
    ) -> None:
        self.keys = frozenset(keys)
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(lambda _: at_end())
        self._num_waiting = 0

    async def landed(self) -> dict[Key, Value]:
        """The values; raises what the work raised. Whoever stops waiting last stops the work."""
        self._num_waiting += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._num_waiting -= 1
            if not self._num_waiting and not self._task.done():
                self._task.cancel()
                await asyncio.wait({self._task})


class ScoreCache:
    """Least-recently-used values in memory, optionally backed by a store, with concurrent requests for a key joined.

    Args:
        max_mb: memory for values, in megabytes.
        store: what is behind it.

    """

    def __init__(self, max_mb: float = 64.0, store: ValueStore | None = None) -> None:
        self._max_bytes = max_mb * 1e6
        self._bytes = 0
        self._memory: OrderedDict[Key, Value] = OrderedDict()
        self.store = store
        self._flights: dict[Key, _Flight] = {}
        self.hits = 0
        self.stored_hits = 0
        """Of the hits, those that the store had and memory had not."""
        self.misses = 0

    async def resolve(self, keys: Sequence[Key], compute: Compute) -> tuple[list[Value], int]:
        """Values of the keys, and how many of them `compute` did not have to give.

        Args:
            keys: distinct.
            compute: gives the values at these indices of `keys`. Keys that another caller is computing are waited for
                instead, also when that caller leaves; if that computation fails, they are computed here after all,
                and a second failure of the same is believed: however many wait for what always fails, it is computed
                twice. It may go on for others when this caller has left.

        """
        known: dict[Key, Value] = {}
        num_computed = num_stored = 0
        for last in chain((False,), repeat(True)):
            num_stored += await self._look_up([key for key in keys if key not in known], known)
            missing = [index for index, key in enumerate(keys) if key not in known]
            mine = [index for index in missing if keys[index] not in self._flights]
            flights = list({self._flights[keys[index]] for index in missing if keys[index] in self._flights})
            if mine:
                num_computed += len(mine)
                known.update(await self._begun([keys[index] for index in mine], mine, compute).landed())
            if not flights:
                break
            ends = await asyncio.gather(*(flight.landed() for flight in flights), return_exceptions=True)
            for flight, end in zip(flights, ends, strict=True):
                if isinstance(end, dict):
                    known.update(end if last else _sound(end))
                elif isinstance(end, Exception) and last and flight.keys.issubset(keys):
                    raise end
        self.hits += len(keys) - num_computed
        self.stored_hits += num_stored
        self.misses += num_computed
        return [known[key] for key in keys], len(keys) - num_computed

    def _begun(self, keys: Sequence[Key], indices: Sequence[int], compute: Compute) -> _Flight:
        async def fly() -> dict[Key, Value]:
            values = dict(zip(keys, await compute(indices), strict=True))
            self._remember(values)
            return values

        def forget() -> None:
            for key in keys:
                del self._flights[key]

        flight = _Flight(keys, fly(), forget)
        self._flights.update(dict.fromkeys(keys, flight))
        return flight

    async def _look_up(self, keys: Sequence[Key], known: dict[Key, Value]) -> int:
        """Add what is known of these keys; returns how many the store had."""
        for key in keys:
            if key in self._memory:
                self._memory.move_to_end(key)
                known[key] = self._memory[key]
        rest = [key for key in keys if key not in known]
        if self.store is None or not rest:
            return 0
        found = await self.store.find(rest)
        self._hold(found)
        known.update(found)
        return len(found)

    def _remember(self, values: Mapping[Key, Value]) -> None:
        sound = _sound(values)
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
            StoreUnavailable: those in memory are forgotten, those in the store are not.

        """
        self._memory.clear()
        self._bytes = 0
        if self.store is not None:
            await asyncio.to_thread(self.store.clear)

    def close(self) -> None:
        """Close the store."""
        if self.store is not None:
            self.store.close()
