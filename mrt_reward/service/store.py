"""Values on disk: written behind the replies, left out for a while when the file fails, and costing nobody a score."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from mrt_reward.errors import ConfigError, StoreUnavailable
from mrt_reward.service.records import Key, record_of, size_of, value_of
from mrt_reward.service.value_file import ValueFile, refuse_unusable
from mrt_reward.types import Value

logger = structlog.stdlib.get_logger(__name__)

READ_S = 2.0
"""Longest time that a reply waits for the disk; then its values are proved."""

CLOSE_S = 10.0
"""Longest time for what waits to be written when the store is closed."""

PENDING_BYTES = 32_000_000
"""Of values that wait to be written, in memory."""

Result = TypeVar("Result")

FIRST_AWAY_S = 1.0
LONGEST_AWAY_S = 60.0

Fault = (sqlite3.Error, OSError, ConfigError, asyncio.TimeoutError, TimeoutError)


class _Outage:
    """Leaves out what failed: at first for a second, then twice as long each time; reported once each time."""

    def __init__(self, what: str, path: Path, first_s: float) -> None:
        self._what = what
        self._path = path
        self._first_s = first_s
        self._num_in_a_row = 0
        self._until = 0.0
        self.num_failures = 0

    @property
    def seconds_left(self) -> float:
        """Until it is tried again."""
        return max(0.0, self._until - time.monotonic())

    def attempt(self, work: Callable[[], Result]) -> Result | Exception:
        """What `work` gives; where it fails, why, and it is left out from now on."""
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported and costs nobody a score
            self.failed(error)
            return error
        self.worked()
        return result

    def failed(self, error: BaseException) -> None:
        """Leave it out from now on."""
        self.num_failures += 1
        if self.seconds_left:
            return  # Others began before it was left out, and failed for the same reason.
        away_s = min(LONGEST_AWAY_S, self._first_s * 2**self._num_in_a_row)
        self._num_in_a_row = min(self._num_in_a_row + 1, 30)
        self._until = time.monotonic() + away_s
        told = f"{type(error).__name__}: {error}"
        logger.warning("cache_file_failed", what=self._what, path=str(self._path), cause=told, away_s=away_s)

    def worked(self) -> None:
        """Use it as before."""
        if self._num_in_a_row:
            logger.info("cache_file_works_again", what=self._what, path=str(self._path))
        self._num_in_a_row = 0
        self._until = 0.0


class SQLiteStore:
    """Values on disk, so that a restart or a retry repeats no finished work. Safe from any thread.

    No method fails because the file does, but `clear`, which says that it did not. While writing fails, values wait in
    memory, and the oldest of them are given up once they are too many.

    Args:
        path: of the SQLite file; several servers may share it.
        max_mb: bound of the file; the oldest values are forgotten.
        first_away_s: how long the file is left out after a first fault.

    Raises:
        ConfigError: nothing can ever be written there.

    """

    def __init__(self, path: Path, max_mb: float = 1000.0, *, first_away_s: float = FIRST_AWAY_S) -> None:
        path = path.expanduser()
        refuse_unusable(path)
        self._path = path
        self._file = ValueFile(path, int(max_mb * 1e6))
        self._reads = _Outage("read", path, first_away_s)
        self._writes = _Outage("write", path, first_away_s)
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
            self._file.read([])
        except ConfigError:
            raise
        except Fault as error:
            self._reads.failed(error)

    @property
    def num_failures(self) -> Mapping[str, int]:
        """Failed reads and writes of the file, and unreadable records in it."""
        failed = {"read": self._reads.num_failures, "write": self._writes.num_failures}
        return {**failed, "record": self._num_unreadable}

    @property
    def num_pending(self) -> int:
        """Values that wait to be written."""
        return len(self._pending)

    async def find(self, keys: Sequence[Key]) -> dict[Key, Value]:
        """What `get` gives, without blocking the event loop, and without the file if that takes too long."""
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
            StoreUnavailable: the file cannot be changed at present.

        """
        with self._writing:
            with self._changed:
                self._pending.clear()
                self._pending_bytes = 0
            try:
                self._clear_file()
            except Fault as error:
                self._writes.failed(error)
                raise StoreUnavailable(
                    f"the values in memory are forgotten, those in the cache's file are not ({error}): send it again"
                ) from error
            self._writes.worked()

    def close(self) -> None:
        """Write what waits, if it can be written, and close the file."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._writer is not None:
            self._writer.join(CLOSE_S)
        self._reader.shutdown(wait=False, cancel_futures=True)
        if self._pending:
            logger.warning("cache_file_incomplete", path=str(self._path), num_values=len(self._pending))
        if self._writer is None or not self._writer.is_alive():
            self._file.close()

    def _waiting(self, keys: Sequence[Key]) -> dict[Key, Value]:
        with self._changed:
            return {key: self._pending[key] for key in keys if key in self._pending}

    def _read(self, keys: Sequence[Key]) -> dict[Key, Value]:
        if self._reads.seconds_left:
            return {}
        records = self._reads.attempt(lambda: self._file.read(keys))
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
            logger.warning("cache_file_unreadable_record", path=str(self._path), num_so_far=self._num_unreadable)

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
                # Another failure than the file's is a bug: these values are not tried again.
                self.num_dropped += len(batch) - (0 if isinstance(num_written, Exception) else num_written)
                for key, value in batch.items():
                    if self._pending.get(key) is value:
                        self._drop(key)
            return True

    def _written(self, batch: Mapping[Key, Value]) -> int:
        """Number of values that are in the file now; one that could not be read back is left out."""
        records = {key: record_of(value) for key, value in batch.items()}
        readable = {key: record for key, record in records.items() if record is not None}
        self._file.write(readable)
        return len(readable)

    def _batch(self) -> dict[Key, Value]:
        batch: dict[Key, Value] = {}
        num_bytes = 0
        with self._changed:
            for key, value in self._pending.items():
                num_bytes += size_of(value)
                if batch and (num_bytes > self._file.max_batch_bytes or len(batch) == self._file.max_batch_rows):
                    break
                batch[key] = value
        return batch

    def _drop(self, key: Key) -> None:
        value = self._pending.pop(key, None)
        self._pending_bytes -= 0 if value is None else size_of(value)

    def _clear_file(self) -> None:
        try:
            self._file.clear()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise
            self._file.clear()  # It was corrupt, and an empty one is in its place.
