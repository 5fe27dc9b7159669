from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mrt_reward.service.cache import ENTRY_BYTES, ScoreCache, SQLiteStore
from mrt_reward.types import SampledAnswer, Value, Verdict

A, B, C = b"a", b"b", b"c"


def value(number: float, ungraded: int | None = None) -> Value:
    return Value(number, 0.0, number, number, ungraded=ungraded)


class Computer:
    """Counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, indices: Sequence[int]) -> Sequence[Value]:
        self.asked.append(list(indices))
        await self.go.wait()
        return [value(index / 10) for index in indices]


async def test_only_missing_indices_are_computed() -> None:
    cache, compute = ScoreCache(), Computer()
    assert await cache.resolve([A, B], compute) == ([value(0.0), value(0.1)], 0)
    assert await cache.resolve([A, C, B], compute) == ([value(0.0), value(0.1), value(0.1)], 2)
    assert compute.asked == [[0, 1], [1]]
    assert (cache.hits, cache.misses) == (2, 3)


async def test_a_key_in_flight_is_waited_for() -> None:
    cache, compute = ScoreCache(), Computer()
    compute.go.clear()
    first = asyncio.create_task(cache.resolve([A, B], compute))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.resolve([B, C], compute))
    await asyncio.sleep(0)
    compute.go.set()
    assert await first == ([value(0.0), value(0.1)], 0)
    assert await second == ([value(0.1), value(0.1)], 1)
    assert compute.asked == [[0, 1], [1]]


@pytest.mark.parametrize("leave", ["cancel", "fail"])
async def test_whoever_waits_takes_over_from_one_that_left(leave: str) -> None:
    cache, compute = ScoreCache(), Computer()
    go = asyncio.Event()

    async def failing(indices: Sequence[int]) -> Sequence[Value]:
        await go.wait()
        raise RuntimeError(str(indices))

    first = asyncio.create_task(cache.resolve([A], failing))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.resolve([A], compute))
    await asyncio.sleep(0)
    if leave == "cancel":
        first.cancel()
    go.set()
    assert await second == ([value(0.0)], 0)
    assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], BaseException)


async def test_what_always_fails_is_computed_twice_however_many_wait_for_it() -> None:
    cache, num_tries = ScoreCache(), 0

    async def failing(indices: Sequence[int]) -> Sequence[Value]:
        nonlocal num_tries
        num_tries += 1
        await asyncio.sleep(0)
        raise RuntimeError(str(indices))

    ends = await asyncio.gather(*(cache.resolve([A], failing) for _ in range(100)), return_exceptions=True)
    assert {str(end) for end in ends} == {"[0]"}
    # Each try of its own would wake all who wait: work without bound in their number, squared.
    assert num_tries == 2


async def test_values_that_memory_has_no_room_for_are_handed_to_whoever_waits() -> None:
    cache, compute = ScoreCache(max_mb=ENTRY_BYTES / 1e6), Computer()
    both = [cache.resolve([A, B], compute) for _ in range(3)]
    assert [values for values, _ in await asyncio.gather(*both)] == [[value(0.0), value(0.1)]] * 3
    assert compute.asked == [[0, 1]]


async def test_what_is_computed_goes_on_for_whoever_waits_when_its_first_caller_leaves() -> None:
    cache, compute = ScoreCache(), Computer()
    compute.go.clear()
    first = asyncio.create_task(cache.resolve([A, B], compute))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.resolve([A, B], compute))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()
    compute.go.set()
    assert await second == ([value(0.0), value(0.1)], 2)
    assert compute.asked == [[0, 1]]


@pytest.mark.parametrize("num_turns", range(4), ids=lambda turns: f"after {turns} turns of the loop")
async def test_the_last_one_to_leave_stops_the_work_and_the_key_is_free_again(num_turns: int) -> None:
    cache, compute = ScoreCache(), Computer()
    stopped = 0

    async def endless(indices: Sequence[int]) -> Sequence[Value]:
        nonlocal stopped
        compute.asked.append(list(indices))
        try:
            await asyncio.Event().wait()
        finally:
            stopped += 1
        raise AssertionError

    waiting = [asyncio.create_task(cache.resolve([A], endless)) for _ in range(2)]
    for _ in range(num_turns):
        await asyncio.sleep(0)
    for task in waiting:
        assert stopped == 0
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert stopped == len(compute.asked) <= 1
    assert await cache.resolve([A], compute) == ([value(0.0)], 0)


async def test_values_that_our_own_failure_touched_are_tried_again() -> None:
    cache = ScoreCache()

    async def lossy(indices: Sequence[int]) -> Sequence[Value]:
        return [Value(None, None, None, None, ungraded=2) if index == 0 else value(0.5, 1) for index in indices]

    compute = Computer()
    await cache.resolve([A, B], lossy)
    await cache.resolve([A, B], compute)
    assert compute.asked == [[0, 1]]


async def test_memory_is_bounded_and_forgets_the_least_recently_used() -> None:
    cache, compute = ScoreCache(max_mb=2 * ENTRY_BYTES / 1e6), Computer()
    await cache.resolve([A], compute)
    await cache.resolve([B], compute)
    await cache.resolve([A], compute)
    await cache.resolve([C], compute)
    compute.asked.clear()
    await cache.resolve([A], compute)
    assert compute.asked == []
    await cache.resolve([B], compute)
    assert compute.asked == [[0]]


async def test_a_restart_finds_values_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scores.sqlite"
    compute = Computer()
    cache = ScoreCache(store=SQLiteStore(path))
    await cache.resolve([A, B], compute)
    cache.close()
    cache = ScoreCache(store=SQLiteStore(path))
    assert await cache.resolve([B, C], compute) == ([value(0.1), value(0.1)], 1)
    await cache.clear()
    assert await cache.resolve([B], compute) == ([value(0.0)], 0)
    cache.close()


async def test_kept_answers_survive_the_disk_and_count_towards_the_memory(tmp_path: Path) -> None:
    kept = replace(
        value(0.5),
        answers=(SampledAnswer("{4}", Verdict.CORRECT, 3, -0.5), SampledAnswer("x" * 600, Verdict.UNPARSED, 9)),
    )

    async def compute(indices: Sequence[int]) -> list[Value]:
        return [kept for _ in indices]

    store = SQLiteStore(tmp_path / "cache.sqlite")
    cache = ScoreCache(0.002, store)  # 2,000 bytes hold one such entry: 400 + 203 + 800.
    await cache.resolve([b"a", b"b"], compute)
    assert len(cache._memory) == 1
    found, num_cached = await cache.resolve([b"a", b"b"], compute)
    assert (found, num_cached) == ([kept, kept], 2)
    store.close()
