"""Work is waited for until it ends, its time is over or the server stops; stopping it is waited for, too."""

from __future__ import annotations

import asyncio

import pytest

from mrt_reward.errors import Draining
from mrt_reward.server.gate.waiting import Stopping, ended


class Endless:
    """Takes a moment to stop."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.stopped = False

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.stopped = True


async def test_work_that_ends_gives_its_result_or_raises() -> None:
    async def gives() -> int:
        return 7

    async def raises() -> None:
        raise ZeroDivisionError

    assert await Stopping().unless(gives(), 60) == 7
    with pytest.raises(ZeroDivisionError):
        await Stopping().unless(raises(), 60)


async def test_time_that_is_over_stops_the_work() -> None:
    work = Endless()
    with pytest.raises((TimeoutError, asyncio.TimeoutError)):
        await Stopping().unless(work(), 0.01)
    assert work.stopped


async def test_a_server_that_stops_gives_all_work_up_and_says_when_to_come_again() -> None:
    stopping, work = Stopping(), Endless()
    waiting = asyncio.create_task(stopping.unless(work(), 3600))
    await work.begun.wait()
    assert not stopping.begun
    stopping.now()
    with pytest.raises(Draining) as draining:
        await waiting
    assert (work.stopped, stopping.begun) == (True, True)
    assert draining.value.retry_after_s


async def test_what_is_ended_is_over_whatever_it_raises() -> None:
    work = Endless()

    async def raises() -> None:
        raise ZeroDivisionError

    tasks = [asyncio.create_task(work()), asyncio.create_task(raises())]
    await work.begun.wait()
    await ended(*tasks)
    assert work.stopped
    assert all(task.done() for task in tasks)
