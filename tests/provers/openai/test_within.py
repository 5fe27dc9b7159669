"""Work that has a deadline."""

from __future__ import annotations

import asyncio

import pytest

from mrt_reward.provers.openai.within import within


async def test_what_takes_too_long_is_cancelled_and_what_it_raises_in_time_is_passed_on() -> None:
    ended: list[str] = []

    async def work(most_s: float, error: str = "") -> str:
        try:
            await asyncio.sleep(most_s)
        finally:
            ended.append("ended")
        if error:
            raise ValueError(error)
        return "done"

    assert await within(60, work(0)) == "done"
    with pytest.raises(ValueError, match="no"):
        await within(60, work(0, "no"))
    with pytest.raises(TimeoutError):
        await within(0.01, work(3600))
    assert len(ended) == 3


async def test_who_leaves_as_the_work_ends_has_left() -> None:
    may_end = asyncio.Event()

    async def waits() -> None:
        await may_end.wait()

    waiting = asyncio.create_task(within(60, waits()))
    await asyncio.sleep(0.01)
    may_end.set()
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
