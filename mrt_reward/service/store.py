"""Values beyond this process: written behind the replies, left out for a while when that fails, at nobody's cost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from mrt_reward.errors import ConfigError, StoreUnavailable
from mrt_reward.service.outage import FIRST_AWAY_S, LONGEST_AWAY_S, Outage
from mrt_reward.service.records import Key, Records, record_of, size_of, value_of
from mrt_reward.service.value_file import ValueFile, refuse_unusable
from mrt_reward.types import Value

logger = structlog.stdlib.get_logger(__name__)

READ_S = 2.0
"""Longest time that a reply waits for the disk; then its values are proved."""

CLOSE_S = 10.0
"""Longest time for what waits to be written when the store is closed."""

PENDING_BYTES = 32_000_000
"""Of values that wait to be written, in memory."""

Fault = (StoreUnavailable, sqlite3.Error, OSError, ConfigError, asyncio.TimeoutError, TimeoutError)


class ValueStore:
    """Values in a file or on a server, so that a restart or a retry repeats no finished work. Safe from any thread.

    No method fails because these do, but `clear`, which says that it did not. While writing fails, values wait in
    memory, and the oldest of them are given up once they are too many.

    Args:
        records: where they are kept; closed with the store.
        first_away_s: how long `records` is left out after a first fault.

    Raises:
        ConfigError: nothing can ever be kept there.

    """

    def __init__(self, records: Records, *, first_away_s: float = FIRST_AWAY_S) -> None:
        self._records = records
        self._reads = Outage("read", records.where, first_away_s)
        self._writes = Outage("write", records.where, first_away_s)
        self._num_unreadable = 0
        self._unreadable_reported_at = -LONGEST_AWAY_S
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._pending: OrderedDict[Key, Value] = OrderedDict()
        self._pending_bytes = 0
        self._closing = False
        self._writer: threading.Thread | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="cache-reader")
        self.num_dropped = 0
        """Values that were not stored, because too many waited or one could not be read back."""
        try:
            records.read([])
        except ConfigError:
            raise
        except Fault as error:
            self._reads.failed(error)

    @property
    def num_failures(self) -> Mapping[str, int]:
        """Failed reads and writes, and unreadable records."""
        failed = {"read": self._reads.num_failures, "write": self._writes.num_failures}
        return {**failed, "record": self._num_unreadable}

    @property
    def num_pending(self) -> int:
        """Values that wait to be written."""
        return len(self._pending)

    async def find(self, keys: Sequence[Key]) -> dict[Key, Value]:
        """What `get` gives, without blocking the event loop; what takes too long to read is left out."""
        found = self._waiting(keys)
        rest = [key for key in keys if key not in found]
        if not rest or self._closing or self._reads.seconds_left:
            return found
        reading = asyncio.get_running_loop().run_in_executor(self._reader, self._read, rest)
        try:
            return found | await asyncio.wait_for(reading, READ_S)
        except (TimeoutError, asyncio.TimeoutError):
            self._reads.failed(TimeoutError(f"no answer within {READ_S:g} s"))
            return found

    def get(self, keys: Sequence[Key]) -> dict[Key, Value]:
        """The values that are there and can be read."""
        found = self._waiting(keys)
        rest = [key for key in keys if key not in found]
        return found | self._read(rest) if rest else found

    def put(self, values: Mapping[Key, Value]) -> None:
        """Have values written soon; returns at once."""
        with self._changed:
            if self._closing:
                return
            for key, value in values.items():
                self._drop(key)
                self._pending[key] = value
                self._pending_bytes += size_of(value)
            while self._pending_bytes > PENDING_BYTES and len(self._pending) > 1:
                self._drop(next(iter(self._pending)))
                self.num_dropped += 1
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="cache-writer", daemon=True)
                self._writer.start()
            self._changed.notify()

    def clear(self) -> None:
        """Forget all, and give the space back.

        Raises:
            StoreUnavailable: what is kept cannot be changed at present.

        """
        with self._writing:
            with self._changed:
                self._pending.clear()
                self._pending_bytes = 0
            try:
                self._records.clear()
            except Fault as error:
                self._writes.failed(error)
                raise StoreUnavailable(
                    f"the values in memory are forgotten, those in the cache's store are not ({error}): send it again"
                ) from error
            self._writes.worked()

    def close(self) -> None:
        """Write what waits, if it can be written, and close what it is kept in."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._writer is not None:
            self._writer.join(CLOSE_S)
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self._pending:
            logger.warning("cache_store_incomplete", where=self._records.where, num_values=len(self._pending))
        if self._writer is None or not self._writer.is_alive():
            self._records.close()

    def _waiting(self, keys: Sequence[Key]) -> dict[Key, Value]:
        with self._changed:
            return {key: self._pending[key] for key in keys if key in self._pending}

    def _read(self, keys: Sequence[Key]) -> dict[Key, Value]:
        if self._reads.seconds_left:
            return {}
        records = self._reads.attempt(lambda: self._records.read(keys))
        if isinstance(records, Exception):
            return {}
        read = {key: value_of(record) for key, record in records.items()}
        values = {key: value for key, value in read.items() if value is not None}
        self._count_unreadable(len(read) - len(values))
        return values

    def _count_unreadable(self, num_records: int) -> None:
        self._num_unreadable += num_records
        if num_records and time.monotonic() >= self._unreadable_reported_at + LONGEST_AWAY_S:
            self._unreadable_reported_at = time.monotonic()
            logger.warning("cache_store_unreadable_record", where=self._records.where, num_so_far=self._num_unreadable)

    def _write_all(self) -> None:
        """The writer's thread: batch by batch, until the store is closed."""
        while True:
            with self._changed:
                while not self._closing and (not self._pending or self._writes.seconds_left):
                    self._changed.wait(self._writes.seconds_left or None)
                if not self._pending:
                    return
            if not self._write_batch() and self._closing:
                return

    def _write_batch(self) -> bool:
        """Write the oldest that wait; what was not written waits on."""
        with self._writing:
            batch = self._batch()
            num_written = self._writes.attempt(lambda: self._written(batch))
            if isinstance(num_written, Fault):
                return False
            with self._changed:
                # Another failure than the store's is a bug: these values are not tried again.
                self.num_dropped += len(batch) - (0 if isinstance(num_written, Exception) else num_written)
                for key, value in batch.items():
                    if self._pending.get(key) is value:
                        self._drop(key)
            return True

    def _written(self, batch: Mapping[Key, Value]) -> int:
        """Number of values that are kept now; one that could not be read back is left out."""
        records = {key: record_of(value) for key, value in batch.items()}
        readable = {key: record for key, record in records.items() if record is not None}
        self._records.write(readable)
        return len(readable)

    def _batch(self) -> dict[Key, Value]:
        batch: dict[Key, Value] = {}
        num_bytes = 0
        with self._changed:
            for key, value in self._pending.items():
                num_bytes += size_of(value)
                if batch and (num_bytes > self._records.max_batch_bytes or len(batch) == self._records.max_batch_rows):
                    break
                batch[key] = value
        return batch

    def _drop(self, key: Key) -> None:
        value = self._pending.pop(key, None)
        self._pending_bytes -= 0 if value is None else size_of(value)


class SQLiteStore(ValueStore):
    """Values in one file, which several servers of this machine may share.

    Args:
        path: of the SQLite file.
        max_mb: bound of the file; the oldest values are forgotten.
        first_away_s: how long the file is left out after a first fault.

    Raises:
        ConfigError: nothing can ever be written there.

    """

    def __init__(self, path: Path, max_mb: float = 1000.0, *, first_away_s: float = FIRST_AWAY_S) -> None:
        path = path.expanduser()
        refuse_unusable(path)
        self._file = ValueFile(path, int(max_mb * 1e6))
        super().__init__(self._file, first_away_s=first_away_s)
