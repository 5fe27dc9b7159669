"""Values that were already paid for: a store in memory, one on disk behind it, and one flight per key.

A key covers everything that can change a value, the version of the weights included, so entries never go stale;
they are only forgotten.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from mrt_reward.types import SampledAnswer, Value, Verdict

Key = bytes
ENTRY_BYTES = 400
"""Measured size of one entry in memory: key, record and their share of the table."""

ANSWER_BYTES = 200
"""Of one kept answer beside its text, about."""


def _size(value: Value) -> int:
    """Bytes of one entry in memory, about."""
    return ENTRY_BYTES + sum(ANSWER_BYTES + len(answer.text) for answer in value.answers or ())


def _read(text: str) -> Value:
    record = json.loads(text)
    kept = record.pop("answers", None)
    answers = (
        None
        if kept is None
        else tuple(
            SampledAnswer(answer["text"], Verdict(answer["verdict"]), answer["tokens"], answer.get("logprob"))
            for answer in kept
        )
    )
    return Value(**record, answers=answers)


class SQLiteStore:
    """Values on disk, so that a restart or a retry repeats no finished work. Safe from any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS value (key BLOB PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID")

    def get(self, keys: Sequence[Key]) -> dict[Key, Value]:
        """The values that are there."""
        found: dict[Key, Value] = {}
        with self._lock:
            for key in keys:
                row = self._db.execute("SELECT record FROM value WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = _read(row[0])
        return found

    def put(self, values: Mapping[Key, Value]) -> None:
        """Add values, all or none."""
        rows = [(key, json.dumps(asdict(value))) for key, value in values.items()]
        with self._lock:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT OR REPLACE INTO value VALUES (?, ?)", rows)
            self._db.execute("COMMIT")

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._db.execute("DELETE FROM value")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


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
        self._store = store
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
            await self._remember(values)
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
        if self._store is not None and rest:
            found = await asyncio.to_thread(self._store.get, rest)
            self._hold(found)
            known.update(found)

    async def _remember(self, values: Mapping[Key, Value]) -> None:
        # A value that our own failure touched is worth another try, so it is not kept.
        sound = {key: value for key, value in values.items() if value.value is not None and not value.ungraded}
        self._hold(sound)
        if self._store is not None and sound:
            await asyncio.to_thread(self._store.put, sound)

    def _hold(self, values: Mapping[Key, Value]) -> None:
        for key, value in values.items():
            self._drop(self._memory.pop(key, None))
            self._memory[key] = value
            self._bytes += _size(value)
        while self._bytes > self._max_bytes and len(self._memory) > 1:
            self._drop(self._memory.popitem(last=False)[1])

    def _drop(self, value: Value | None) -> None:
        self._bytes -= 0 if value is None else _size(value)

    async def clear(self) -> None:
        """Forget all values; flights go on."""
        self._memory.clear()
        self._bytes = 0
        if self._store is not None:
            await asyncio.to_thread(self._store.clear)

    def close(self) -> None:
        """Close the disk store."""
        if self._store is not None:
            self._store.close()
