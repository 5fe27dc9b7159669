"""One SQLite file of records, bounded in size. It raises what goes wrong; `ValueStore` decides what that means."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import structlog

from mrt_reward.errors import ConfigError
from mrt_reward.service.records import Key

logger = structlog.stdlib.get_logger(__name__)

READ_BUSY_S = 0.25
WRITE_BUSY_S = 5.0
"""How long a connection waits for the locks of others. Nobody waits for a writer."""

PAGE_BYTES = 4096
"""SQLite's own. A key is a hash, so that each row may touch another page of the index."""

MAX_BATCH = 1000
MAX_LOG_BYTES = 8_000_000

VACUUM_PAGES = 256
"""Pages given back at a time, so that the write-ahead log stays small."""

_OF_THE_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE,
    errno.ENFILE,
}  # fmt: skip
"""What an operator or time may mend while a server runs."""


def refuse_unusable(path: Path) -> None:
    """Make the folder, and see that the path is one that a file can be written at.

    Raises:
        ConfigError: it never is: it names no file. A disk that is full or read-only, or a folder that this user may not
            write in, is no such reason: that is found, and reported, when the file is used.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, "the file is read-only for this user")
        # SQLite keeps its log beside the file. A file of one's own tells more than the folder's permissions.
        probe = path.with_name(f"{path.name}.{os.getpid()}.probe")
        probe.touch()
        probe.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            return
        raise ConfigError(
            f"cache_path: no file can be written at {str(path)!r} ({error}): name a file, or leave cache_path out",
            param="cache_path",
        ) from error


class ValueFile:
    """Records by key, safe from any thread; one connection reads, another writes, and neither waits for the other.

    Connections are opened when they are needed, and again when the file was replaced under them. A corrupt file is set
    aside under the suffix `.corrupt`, and an empty one takes its place.

    Args:
        path: of the file.
        max_bytes: of the file and its write-ahead log.

    Raises:
        sqlite3.Error: from every method: what the file, the disk or another process is to blame for.
        OSError: the file cannot be read or written.
        ConfigError: the file is the database of another application.

    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        # An absolute path, because SQLite reads some names, such as ":memory:", in its own way.
        path = path.absolute()
        self.where = str(path)
        self._log_bytes = min(MAX_LOG_BYTES, max_bytes // 4)
        self._max_bytes = max_bytes - self._log_bytes
        self.max_batch_bytes = self._log_bytes // 8
        self.max_batch_rows = max(1, min(MAX_BATCH, self._log_bytes // 4 // PAGE_BYTES))
        """What one call of `write` should bring at most, so that its log stays within what is kept for it."""
        self._reader = _Connection(path, READ_BUSY_S, self._log_bytes)
        self._writer = _Connection(path, WRITE_BUSY_S, self._log_bytes)
        # An emptied file is laid out anew only once nobody holds what it was.
        self._reader.at_fault, self._writer.at_fault = self._writer.close_if_idle, self._reader.close_if_idle

    def read(self, keys: Sequence[Key]) -> dict[Key, object]:
        """The records that are there, as they are."""
        found: dict[Key, object] = {}
        with self._reader.use() as db:
            for key in keys:
                row = db.execute("SELECT record FROM prefix_value WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = row[0]
        return found

    def write(self, records: Mapping[Key, bytes]) -> None:
        """Add records, all or none, and delete the oldest if the file is over its bound."""
        with self._writer.use() as db:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT OR REPLACE INTO prefix_value (key, record) VALUES (?, ?)", records.items())
            db.execute("COMMIT")
            self._keep_bound(db)

    def clear(self) -> None:
        """Delete all records, and give their space back."""
        try:
            self._clear()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:
                raise
            self._clear()  # It was corrupt, and an empty one is in its place.

    def _clear(self) -> None:
        with self._writer.use() as db:
            db.execute("DELETE FROM prefix_value")
            _make_shrinkable(db)
            _vacuum(db)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close both connections."""
        self._writer.close()
        self._reader.close()

    def _keep_bound(self, db: sqlite3.Connection) -> None:
        while _used_bytes(db) > self._max_bytes:
            oldest = "DELETE FROM prefix_value WHERE id IN (SELECT id FROM prefix_value ORDER BY id LIMIT ?)"
            if not db.execute(oldest, (self.max_batch_rows,)).rowcount:
                break
        # What was freed is written over before the file grows, so that this is for a bound that was lowered.
        if _pragma(db, "page_count") * _pragma(db, "page_size") > self._max_bytes + self.max_batch_bytes:
            _vacuum(db)


class _Connection:
    """A connection for one call at a time, opened when it is needed.

    A call that fails closes it. That rolls back what was half done, which would fail all that follow, and the next call
    finds the file as it then is.
    """

    def __init__(self, path: Path, busy_s: float, log_bytes: int) -> None:
        self._path = path
        self._busy_s = busy_s
        self._log_bytes = log_bytes
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self.at_fault: Callable[[], None] = lambda: None
        """Called when a call failed."""

    @contextmanager
    def use(self) -> Generator[sqlite3.Connection]:
        """The connection, for the calling thread alone."""
        with self._lock, ExitStack() as call:
            if self._db is not None and self._inode != _inode(self._path):
                self._disconnect()
            call.push(self._ended)
            yield self._db or self._connect()

    def _ended(
        self, kind: type[BaseException] | None, _error: BaseException | None, _from: TracebackType | None
    ) -> None:
        """After a call, which failed with an error of this kind."""
        if kind is None:
            return
        self._disconnect()
        # For SQLITE_CORRUPT and SQLITE_NOTADB Python raises the class itself; what passes are subclasses of it.
        if kind is sqlite3.DatabaseError and self._inode == _inode(self._path):
            _set_aside(self._path)
        self.at_fault()

    def close(self) -> None:
        """Close it; a later call opens it again."""
        with self._lock:
            self._disconnect()

    def close_if_idle(self) -> None:
        """Close it, unless a call is under way."""
        if self._lock.acquire(blocking=False):
            try:
                self._disconnect()
            finally:
                self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        self._inode = _inode(self._path)
        self._db = db = sqlite3.connect(self._path, timeout=self._busy_s, check_same_thread=False, isolation_level=None)
        # Text that is no UTF-8 is one unreadable record, and no failed query.
        db.text_factory = bytes
        # Only of a file that is made here: it takes the writer's lock, and a reader must not need that.
        if _pragma(db, "page_count") == 0:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA journal_size_limit = {self._log_bytes}").fetchall()
        pages = max(1, self._log_bytes // 4 // PAGE_BYTES)
        db.execute(f"PRAGMA wal_autocheckpoint = {pages}").fetchall()
        _lay_out(db, self._path)
        self._inode = _inode(self._path)
        return db

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()


def _lay_out(db: sqlite3.Connection, path: Path) -> None:
    """Make the table where it is not there, and drop that of the former layout, whose keys nobody makes now.

    Rows stand in the order in which they were written, so that the oldest are together when they are deleted.
    """
    tables = {bytes(name).decode() for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "prefix_value" in tables:
        return
    if any(name != "value" and not name.startswith("sqlite_") for name in tables):
        raise ConfigError(
            f"cache_path: {str(path)!r} is the database of another application: name another file", param="cache_path"
        )
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "CREATE TABLE IF NOT EXISTS prefix_value "
        "(id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, record BLOB NOT NULL)"
    )
    db.execute("DROP TABLE IF EXISTS value")
    db.execute("COMMIT")
    with suppress(sqlite3.Error):  # It wants room for a second file, and can wait for the next `clear`.
        _make_shrinkable(db)


def _make_shrinkable(db: sqlite3.Connection) -> None:
    """Only a file that was made so, or is written anew as a whole, gives space back."""
    if _pragma(db, "auto_vacuum") == 0:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("VACUUM")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _used_bytes(db: sqlite3.Connection) -> int:
    return (_pragma(db, "page_count") - _pragma(db, "freelist_count")) * _pragma(db, "page_size")


def _vacuum(db: sqlite3.Connection) -> None:
    while _pragma(db, "freelist_count"):
        before = _pragma(db, "page_count")
        db.execute(f"PRAGMA incremental_vacuum({VACUUM_PAGES})").fetchall()
        if _pragma(db, "page_count") >= before:
            break


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _set_aside(path: Path) -> None:
    """Rename a corrupt file, its log first: a log must never be found beside another file than its own."""
    aside = path.with_name(path.name + ".corrupt")
    for suffix in ("-shm", "-wal", ""):
        source, target = (base.with_name(base.name + suffix) for base in (path, aside))
        if source.exists():
            source.replace(target)
        else:
            target.unlink(missing_ok=True)
    logger.error("cache_file_corrupt", path=str(path), set_aside=str(aside))
