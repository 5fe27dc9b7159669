from __future__ import annotations

import asyncio

import pytest

from mrt_reward.provers.together import together


async def test_results_come_in_the_order_of_the_parts() -> None:
    first = asyncio.Event()

    async def late() -> str:
        await first.wait()
        return "late"

    async def early() -> str:
        first.set()
        return "early"

    assert await together([late(), early()]) == ["late", "early"]


@pytest.mark.parametrize("leaving", [False, True])
async def test_a_failure_or_a_caller_who_leaves_ends_all_parts_before_it_is_raised(leaving: bool) -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("endless")

    async def failing() -> None:
        await asyncio.sleep(0)
        if not leaving:
            raise ValueError("one part")
        await asyncio.Event().wait()

    call = asyncio.ensure_future(together([endless(), failing()]))
    for _ in range(3):
        await asyncio.sleep(0)
    call.cancel() if leaving else None
    with pytest.raises(asyncio.CancelledError if leaving else ValueError):
        await call
    assert ended == ["endless"]
