"""The cache's file locked, full, corrupt, one after the other, under a server that works: nobody loses a score."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.faults.scripted import Script
from tests.faults.started import expected, started, trace, values_of
from tests.faults.table import Figure, Row

TRACES_A_FAULT = 20
HEAD_BYTES = 100
MOST_LOOKS = 600
"""For a fault that was counted, half a minute at least: the writer waits for another's lock."""

Fault = Callable[[Path, int], AbstractContextManager[None]]


@contextmanager
def locked(path: Path, _: int) -> Generator[None]:
    """By another process's transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def full(path: Path, pid: int) -> Generator[None]:
    """The system lets the server write no file beyond its present length, as on a full disk; its log is one of them."""
    size = min(file.stat().st_size for file in parts(path))
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def corrupt(path: Path, _: int) -> Generator[None]:
    """Other bytes over all of the file and of its log but their heads."""
    for part in parts(path):
        with part.open("r+b") as file:
            file.seek(HEAD_BYTES)
            file.write(b"\xa5" * (part.stat().st_size - HEAD_BYTES))
    yield


def parts(path: Path) -> list[Path]:
    """The file, and the log of what is not in it yet."""
    return [path, path.with_name(path.name + "-wal")]


@pytest.mark.parametrize("fault", [locked, full, corrupt])
async def test_a_file_that_fails_costs_no_score_and_is_used_again_afterwards(
    row: Row, tmp_path: Path, fault: Fault
) -> None:
    path = tmp_path / "scores.sqlite"
    before, beside, after = ([trace(f"{part}{n}", 2) for n in range(TRACES_A_FAULT)] for part in ("a", "b", "c"))
    right = await expected(Script(), [*before, *beside, *after])
    async with started(Script(settings={"cache_path": str(path)}), tmp_path / "log") as server:

        async def num_right(*traces: dict[str, object]) -> int:
            scored = (await server.post(list(traces))).json()["traces"]
            return sum(values_of(each) == right[each["id"]] for each in scored)

        found = await num_right(*before)
        await server.stored()
        with fault(path, server.pid):
            for each in beside:
                found += await num_right(each)
            # The writer waits a few seconds for another's lock; what is damaged shows when it is looked at.
            for number in range(MOST_LOOKS):
                if failed := await server.metric("mrt_reward_cache_store_failures_total"):
                    break
                assert (await server.post([trace(f"more{number}", 2)])).is_success
                await asyncio.sleep(0.05)
            else:
                failed = 0.0
        found += await num_right(*after)
        await server.stored()
        with sqlite3.connect(path) as db:
            (num_rows,) = db.execute("SELECT COUNT(*) FROM prefix_value").fetchone()
        db.close()
    done = f"{fault.__name__}, with {TRACES_A_FAULT} traces scored before, meanwhile and afterwards each"
    title = "the cache's file fails"
    row.found(Figure(title, done, f"{found} scores right", f"{3 * TRACES_A_FAULT}", found == 3 * TRACES_A_FAULT))
    row.found(Figure(title, done, f"{failed:.0f} faults counted", "1 or more", failed >= 1))
    num_values = sum(len(right[each["id"]]) for each in (*beside, *after))
    figure = f"{num_rows} values in it at the end"
    row.found(Figure(title, done, figure, f"{num_values}, those since the fault", num_rows >= num_values))
