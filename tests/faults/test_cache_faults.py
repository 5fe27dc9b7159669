"""The cache's file locked, full, corrupt, one after the other, under a server that works: nobody loses a score."""

from __future__ import annotations

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
    """The system lets the server write no file beyond its present length: no byte more, as on a full disk."""
    sizes = [file.stat().st_size for file in path.parent.glob(path.name + "*")]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (min(sizes), resource.RLIM_INFINITY))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def corrupt(path: Path, _: int) -> Generator[None]:
    """Random bytes over all pages but the first bytes that say that it is a database."""
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(100)
        file.write(b"\xa5" * (size - 100))
    yield


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
            failed = await server.metric("mrt_reward_cache_file_failures_total")
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
