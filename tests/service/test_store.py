"""The cache's file fails in every way a file can, and costs nobody a score."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import structlog

from mrt_reward.errors import ConfigError, StoreUnavailable
from mrt_reward.service import store as store_module
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.types import SampledAnswer, Value, Verdict

SOON_S = 10.0


def value(number: float) -> Value:
    return Value(number, 0.0, number, number)


def keys(prefix: str, num: int) -> list[bytes]:
    return [f"{prefix}{index}".encode() for index in range(num)]


async def computed(indices: Sequence[int]) -> Sequence[Value]:
    return [value(index / 100) for index in indices]


async def refuse(indices: Sequence[int]) -> Sequence[Value]:
    raise AssertionError(f"{len(indices)} values should have been there")


def until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.005)


@contextmanager
def made(path: Path, max_mb: float = 10.0) -> Generator[SQLiteStore]:
    store = SQLiteStore(path, max_mb, first_away_s=0.02)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def locked(path: Path, how: str = "BEGIN IMMEDIATE") -> Generator[None]:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute(how)
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scores.sqlite"


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as found:
        yield found  # type: ignore[misc]


def all_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(path.name + "*") if ".corrupt" not in file.name)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrt_reward.service.value_file.WRITE_BUSY_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_a_lock_costs_no_score_and_what_it_held_up_is_stored_afterwards(
    path: Path, logs: list[dict[str, object]]
) -> None:
    with made(path) as store:
        cache = ScoreCache(store=store)
        with locked(path):
            for request in range(10):
                values, num_cached = await cache.resolve(keys(f"r{request}-", 5), computed)
                assert (values, num_cached) == ([value(index / 100) for index in range(5)], 0)
            until(lambda: store.num_failures["write"] >= 2)
            assert store.num_pending == 50
        until(lambda: store.num_pending == 0)
    with made(path) as store:
        assert len(store.get([key for request in range(10) for key in keys(f"r{request}-", 5)])) == 50
    failed = [entry for entry in logs if entry["event"] == "cache_store_failed"]
    assert len(failed) == len({entry["away_s"] for entry in failed}), "one line for each time that it is left out"
    assert "locked" in str(failed[0]["cause"])


async def test_replies_do_not_wait_for_the_disk(path: Path) -> None:
    with made(path) as store:
        cache = ScoreCache(store=store)
        with locked(path):
            started = time.monotonic()
            for request in range(20):
                await cache.resolve(keys(f"r{request}-", 5), computed)
            # Twenty waits of one lock would take twenty times WRITE_BUSY_S.
            assert time.monotonic() - started < store_module.CLOSE_S / 4


async def test_a_disk_that_does_not_answer_is_left_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrt_reward.service.store.READ_S", 0.05)
    with made(path) as store:
        store._reads._first_s = 60.0
        await asyncio.to_thread(store._file._reader._lock.acquire)
        try:
            values, _ = await ScoreCache(store=store).resolve([b"a"], computed)
            assert values == [value(0.0)]
            assert store.num_failures["read"] == 1
            await ScoreCache(store=store).resolve([b"b"], computed)
            assert store.num_failures["read"] == 1, "it is not asked again at once"
        finally:
            store._file._reader._lock.release()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all, " * 1000)


def _broken_pages(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1000:] = b"\xee" * (len(data) - 1000)
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _gone(path: Path) -> None:
    path.unlink()


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


DAMAGE = [_garbage, _broken_pages, _emptied, _gone, _cut_short]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("when", ["at the start", "while it runs"])
async def test_a_damaged_file_costs_no_score_and_storing_goes_on(
    path: Path, damage: Callable[[Path], None], when: str
) -> None:
    with made(path) as store:
        store.put({key: value(0.5) for key in keys("old", 300)})
    if when == "at the start":
        damage(path)
    with made(path) as store:
        if when == "while it runs":
            assert len(store.get(keys("old", 300))) == 300
            damage(path)
        cache = ScoreCache(store=store)
        for request in range(3):
            values, _ = await cache.resolve(keys(f"new{request}-", 5), computed)
            assert values == [value(index / 100) for index in range(5)]
        until(lambda: store.num_pending == 0)
        await cache.clear()
        await cache.resolve(keys("last", 5), computed)
        until(lambda: store.num_pending == 0)
    with made(path) as store:
        assert len(store.get(keys("last", 5))) == 5


def test_a_corrupt_file_is_set_aside_and_not_deleted(path: Path, logs: list[dict[str, object]]) -> None:
    _garbage(path)
    with made(path) as store:
        store.put({b"a": value(0.5)})
        until(lambda: store.num_pending == 0 and store.get([b"a"]) == {b"a": value(0.5)})
    assert path.with_name(path.name + ".corrupt").read_bytes().startswith(b"not a database")
    assert [entry["event"] for entry in logs].count("cache_file_corrupt") == 1


@pytest.mark.parametrize(
    "record",
    [
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe",
        b"[" * 100_000,
        7,
        None,
        json.dumps({"value": 7.0, "stderr": 0.0, "low": 0.0, "high": 1.0}),
        json.dumps({"value": -0.1, "stderr": 0.0, "low": 0.0, "high": 1.0}),
        json.dumps({"value": float("nan"), "stderr": 0.0, "low": 0.0, "high": 1.0}),
        json.dumps({"value": "0.5", "stderr": 0.0, "low": 0.0, "high": 1.0}),
        json.dumps({"value": True, "stderr": 0.0, "low": 0.0, "high": 1.0}),
        json.dumps({"value": 0.5, "stderr": 0.0, "low": 0.0, "high": 1.5}),
        json.dumps({"value": None, "stderr": None, "low": None, "high": None}),
        json.dumps({"value": 0.5, "stderr": 0.0, "low": 0.0, "high": 1.0, "correct": -1}),
        json.dumps({"value": 0.5, "stderr": 0.0, "low": 0.0, "high": 1.0, "answers": [{"text": "x"}]}),
        json.dumps({"value": 0.5}),
    ],
)
async def test_a_record_that_is_no_value_is_proved_again_and_its_neighbours_are_read(
    path: Path, record: object, logs: list[dict[str, object]]
) -> None:
    with made(path) as store:
        store.put({b"bad": value(0.25), b"good": value(0.75)})
    with sqlite3.connect(path) as db:
        # A column of SQLite takes any type; NULL alone is refused, so an empty one stands for it.
        db.execute("UPDATE prefix_value SET record = ? WHERE key = ?", (b"" if record is None else record, b"bad"))
    db.close()
    with made(path) as store:
        cache = ScoreCache(store=store)
        assert await cache.resolve([b"bad", b"good"], computed) == ([value(0.0), value(0.75)], 1)
        assert await ScoreCache(store=store).resolve([b"bad"], refuse) == ([value(0.0)], 1)
        assert store.num_failures["record"] == 1
    with made(path) as store:
        assert store.get([b"bad"]) == {b"bad": value(0.0)}, "the next value takes its place"
    assert [entry["event"] for entry in logs].count("cache_store_unreadable_record") == 1


def test_many_unreadable_records_are_counted_and_reported_once(path: Path, logs: list[dict[str, object]]) -> None:
    with made(path) as store:
        store.put({key: value(0.5) for key in keys("k", 100)})
    with sqlite3.connect(path) as db:
        db.execute("UPDATE prefix_value SET record = ?", (b"x",))
    db.close()
    with made(path) as store:
        for key in keys("k", 100):
            assert store.get([key]) == {}
        assert store.num_failures["record"] == 100
    assert [entry["event"] for entry in logs].count("cache_store_unreadable_record") == 1


def test_a_full_disk_holds_values_in_memory_within_a_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrt_reward.service.store.PENDING_BYTES", 40_000)
    with made(path) as store:
        store.put({b"before": value(0.5)})
        until(lambda: store.num_pending == 0)
        writer = store._file._writer._db
        assert writer is not None
        [[num_pages]] = writer.execute("PRAGMA page_count").fetchall()
        # SQLite answers as on a full disk once a file reaches this size.
        writer.execute(f"PRAGMA max_page_count = {num_pages}").fetchall()
        answers = (SampledAnswer("x" * 3000, Verdict.CORRECT, 3),)
        large = {key: Value(0.5, 0.0, 0.5, 0.5, answers=answers) for key in keys("large", 20)}
        store.put(large)
        until(lambda: store.num_failures["write"] > 0)
        assert store.num_dropped == 20 - 40_000 // 3600
        until(lambda: store.num_pending == 0)  # There is room again: a new connection has no such limit.
        assert store.get([b"before"]) != {}


@pytest.mark.parametrize("kind", ["folder", "below a file", "device", "NUL", "too long", "another database"])
def test_a_path_that_can_never_be_written_is_refused_at_the_start(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE trials (id INTEGER)")
    db.close()
    wrong = {
        "folder": tmp_path,
        "below a file": file / "scores.sqlite",
        "device": Path("/dev/null"),
        "NUL": tmp_path / "a\0b",
        "too long": tmp_path / ("x" * 300),
        "another database": foreign,
    }[kind]
    with pytest.raises(ConfigError, match="cache_path"):
        SQLiteStore(wrong)
    assert file.read_text() == "mine"


def test_a_path_that_cannot_be_written_at_present_costs_nobody_a_score(logs: list[dict[str, object]]) -> None:
    # Nobody may make files there, not even root.
    store = SQLiteStore(Path("/sys/scores.sqlite"))
    try:
        assert [entry["event"] for entry in logs] == ["cache_store_failed"]
        store.put({b"a": value(0.5)})
        assert store.get([b"a"]) == {b"a": value(0.5)}
        assert store.num_failures["read"] == 1
    finally:
        store.close()


def test_a_file_that_is_locked_at_the_start_is_used_later(path: Path) -> None:
    with made(path) as store:
        store.put({b"a": value(0.5)})
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    db.execute("BEGIN EXCLUSIVE")
    with made(path) as store:
        assert store.num_failures["read"] == 1
        assert store.get([b"a"]) == {}
        db.execute("ROLLBACK")
        db.close()
        until(lambda: store.get([b"a"]) == {b"a": value(0.5)})


def test_the_file_stays_within_its_bound_and_forgets_the_oldest(path: Path) -> None:
    with made(path, max_mb=1.0) as store:
        for start in range(0, 20_000, 500):
            store.put({f"k{index:05}".encode(): value(0.5) for index in range(start, start + 500)})
            until(lambda: store.num_pending == 0)
            assert all_bytes(path) <= 1_000_000
        assert store.get([b"k00000"]) == {}
        assert store.get([b"k19999"]) == {b"k19999": value(0.5)}
    with made(path, max_mb=1.0) as store:
        kept = store.get([f"k{index:05}".encode() for index in range(20_000)])
        assert len(kept) > 2000, "most of the bound is used"
        assert sorted(kept) == [f"k{index:05}".encode() for index in range(20_000 - len(kept), 20_000)]


def test_a_lower_bound_makes_the_file_smaller(path: Path) -> None:
    with made(path) as store:
        for start in range(0, 20_000, 2000):
            store.put({f"k{index:05}".encode(): value(0.5) for index in range(start, start + 2000)})
        until(lambda: store.num_pending == 0)
    before = all_bytes(path)
    with made(path, max_mb=1.0) as store:
        store.put({b"one more": value(0.5)})
        until(lambda: store.num_pending == 0)
    assert all_bytes(path) <= 1_000_000 < before


async def test_clearing_makes_the_file_small(path: Path) -> None:
    with made(path) as store:
        cache = ScoreCache(store=store)
        await cache.resolve(keys("k", 5000), computed_small)
        until(lambda: store.num_pending == 0)
        before = all_bytes(path)
        await cache.clear()
        assert all_bytes(path) < before / 10
        assert await cache.resolve([b"k1"], computed) == ([value(0.0)], 0)


async def computed_small(indices: Sequence[int]) -> Sequence[Value]:
    return [value(0.5) for _ in indices]


@pytest.mark.usefixtures("impatient")
async def test_a_clear_that_the_file_refuses_says_so(path: Path) -> None:
    with made(path) as store:
        cache = ScoreCache(store=store)
        await cache.resolve([b"a"], computed)
        until(lambda: store.num_pending == 0)
        with locked(path), pytest.raises(StoreUnavailable, match="locked"):
            await cache.clear()
        await cache.clear()
        assert store.get([b"a"]) == {}


def test_values_of_the_former_layout_are_dropped_because_nobody_makes_their_keys_any_more(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE value (key BLOB PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID")
        record = json.dumps({"value": 0.5, "stderr": 0.0, "low": 0.5, "high": 0.5, "answers": None})
        db.executemany("INSERT INTO value VALUES (?, ?)", [(key, record) for key in keys("k", 5000)])
    db.close()
    before = all_bytes(path)
    with made(path) as store:
        assert store.get(keys("k", 5000)) == {}
        store.put({b"new": value(0.5)})
        until(lambda: store.num_pending == 0)
        assert store.get([b"new"]) == {b"new": value(0.5)}
    assert all_bytes(path) < before / 10


PROCESS = """
import sys
from pathlib import Path
from mrt_reward.service.store import SQLiteStore
from mrt_reward.types import Value
name, path = sys.argv[1:]
store = SQLiteStore(Path(path), 2.0)
for number in range(60):
    store.put({f"{name}{number}-{index}".encode(): Value(0.5, 0.0, 0.5, 0.5) for index in range(20)})
    if name == "a" and number % 10 == 9:
        store.clear()
store.close()
assert store.num_pending == 0 and store.num_failures["record"] == 0, store.num_failures
"""


def test_two_processes_share_one_file(path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, name, str(path)]) for name in "abc"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    with made(path) as store:
        store.put({b"after": value(0.5)})
        until(lambda: store.num_pending == 0)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


def test_text_that_cannot_be_read_back_is_not_stored(path: Path) -> None:
    odd = Value(0.5, 0.0, 0.5, 0.5, answers=(SampledAnswer("\ud800", Verdict.CORRECT, 1),))
    with made(path) as store:
        store.put({b"odd": odd, b"plain": value(0.5)})
        until(lambda: store.num_pending == 0)
        assert store.get([b"odd", b"plain"]) == {b"plain": value(0.5)}
        assert store.num_dropped == 1


async def test_a_bug_of_the_store_itself_costs_no_score_either(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with made(path) as store:
        monkeypatch.setattr(store._file, "read", fail)
        monkeypatch.setattr(store._file, "write", fail)
        assert await ScoreCache(store=store).resolve([b"a", b"b"], computed) == ([value(0.0), value(0.01)], 0)
        until(lambda: store.num_dropped == 2)
        monkeypatch.undo()
        store.put({b"c": value(0.5)})
        until(lambda: store.get([b"c"]) == {b"c": value(0.5)})
