"""One file of records: what it raises, and what it is afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.service import value_file
from mrt_reward.service.value_file import ValueFile, refuse_unusable

MAX_BYTES = 4_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "values.sqlite"


@contextmanager
def opened(path: Path, max_bytes: int = MAX_BYTES) -> Generator[ValueFile]:
    file = ValueFile(path, max_bytes)
    try:
        yield file
    finally:
        file.close()


def test_records_come_back_as_they_were_and_the_last_one_counts(path: Path) -> None:
    records = {b"\0\xff": b"", b"text": b"\xff\xfe", b"json": b'{"value": 0.5}'}
    with opened(path) as file:
        file.write(records)
        file.write({b"text": b"new"})
        expected = {**records, b"text": b"new"}
        assert file.read([*records, b"missing"]) == expected
    with opened(path) as file:
        assert file.read([*records, b"missing"]) == expected


def test_a_batch_is_written_whole_or_not_at_all(path: Path) -> None:
    with opened(path) as file:
        file.write({b"before": b"1"})
        broken: dict[bytes, bytes] = {b"first": b"1", b"second": None}  # type: ignore[dict-item]
        with pytest.raises(sqlite3.IntegrityError):
            file.write(broken)
        assert file.read([b"before", b"first", b"second"]) == {b"before": b"1"}
        file.write({b"after": b"2"})  # What was half done does not hold up what comes.
        assert file.read([b"first", b"after"]) == {b"after": b"2"}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_a_call_that_is_interrupted_leaves_nothing_half_done(path: Path, kind: type[BaseException]) -> None:
    with opened(path) as file:
        file.write({b"a": b"1"})
        with pytest.raises(kind), file._writer.use() as db:  # noqa: PT012 - raised in the middle of it
            db.execute("BEGIN IMMEDIATE")
            db.execute("DELETE FROM prefix_value")
            raise kind
        assert file.read([b"a"]) == {b"a": b"1"}
        file.write({b"b": b"2"})
        assert not path.with_name(path.name + ".corrupt").exists(), "it was not the file's fault"


def test_a_lock_of_another_process_is_an_error_and_no_corruption(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_file, "WRITE_BUSY_S", 0.02)
    with opened(path) as file:
        file.write({b"a": b"1"})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                file.write({b"b": b"2"})
            assert file.read([b"a"]) == {b"a": b"1"}, "who reads waits for nobody who writes"
        finally:
            other.execute("ROLLBACK")
            other.close()
        file.write({b"b": b"2"})
        assert file.read([b"a", b"b"]) == {b"a": b"1", b"b": b"2"}


@pytest.mark.parametrize("call", [lambda file: file.read([b"a"]), lambda file: file.write({b"a": b"1"})])
def test_a_corrupt_file_is_reported_once_and_an_empty_one_replaces_it(
    path: Path, call: Callable[[ValueFile], object]
) -> None:
    garbage = b"not a database at all, " * 1000
    path.write_bytes(garbage)
    with opened(path) as file:
        with pytest.raises(sqlite3.DatabaseError):
            call(file)
        file.write({b"b": b"2"})
        assert file.read([b"a", b"b"]) == {b"b": b"2"}
    assert path.with_name(path.name + ".corrupt").read_bytes() == garbage


def test_a_file_that_was_replaced_is_opened_again(path: Path) -> None:
    with opened(path) as file:
        file.write({b"old": b"1"})
        assert file.read([b"old"]) == {b"old": b"1"}
        for part in path.parent.glob(path.name + "*"):
            part.unlink()
        assert file.read([b"old"]) == {}
        file.write({b"new": b"2"})
        assert file.read([b"new"]) == {b"new": b"2"}


def test_the_database_of_another_application_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE trials (id INTEGER)")
    db.close()
    with opened(path) as file:
        for _ in range(2):
            with pytest.raises(ConfigError, match="another application"):
                file.write({b"a": b"1"})
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("trials",)]
    db.close()


def test_a_name_that_sqlite_reads_in_its_own_way_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path(":memory:")) as file:
        file.write({b"a": b"1"})
    assert (tmp_path / ":memory:").is_file()


def test_the_oldest_records_make_room(path: Path) -> None:
    with opened(path, 400_000) as file:
        for index in range(0, 2000, 20):
            file.write({f"k{number:04}".encode(): b"x" * 1000 for number in range(index, index + 20)})
        kept = sorted(file.read([f"k{number:04}".encode() for number in range(2000)]))
        assert kept == [f"k{number:04}".encode() for number in range(2000 - len(kept), 2000)]
        assert len(kept) > 100, "most of the bound is used"
    assert path.stat().st_size <= 400_000


def test_clearing_gives_the_space_back(path: Path) -> None:
    with opened(path) as file:
        file.write({f"k{number}".encode(): b"x" * 1000 for number in range(1000)})
        file.clear()
        assert file.read([b"k1"]) == {}
        assert path.stat().st_size < 50_000


def test_it_is_safe_from_any_thread(path: Path) -> None:
    failed: list[BaseException] = []

    def use(file: ValueFile, thread: int) -> None:
        try:
            for number in range(20):
                key = f"{thread}-{number}".encode()
                file.write({key: key})
                assert file.read([key]) == {key: key}
        except BaseException as error:
            failed.append(error)
            raise

    with opened(path) as file:
        threads = [Thread(target=use, args=(file, thread)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(file.read([f"{thread}-{number}".encode() for thread in range(4) for number in range(20)])) == 80


def test_the_folder_of_a_file_is_made_and_nothing_else(tmp_path: Path) -> None:
    refuse_unusable(tmp_path / "some" / "where" / "values.sqlite")
    assert [entry.name for entry in (tmp_path / "some" / "where").iterdir()] == []


def test_a_path_that_names_no_file_is_refused_with_the_setting(tmp_path: Path) -> None:
    for wrong in (tmp_path, Path("/dev/null"), tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="name a file, or leave cache_path out") as refused:
            refuse_unusable(wrong)
        assert refused.value.param == "cache_path"


def test_a_disk_that_may_be_mended_is_no_reason_to_refuse(tmp_path: Path) -> None:
    refuse_unusable(Path("/sys/values.sqlite"))  # nobody may make files there, not even root
    assert not Path("/sys/values.sqlite").exists()
