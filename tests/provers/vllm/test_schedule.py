"""Blocks are lent in order of arrival, and weights change between proofs. No engine is needed."""

from __future__ import annotations

import asyncio

import pytest

from mrt_reward.provers.vllm.schedule import BlockBudget, ReadWriteLock


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_blocks_are_lent_in_order_of_arrival() -> None:
    budget = BlockBudget(10)
    order: list[str] = []
    release = {name: asyncio.Event() for name in "abcd"}

    async def trace(name: str, num_blocks: int) -> None:
        async with budget.lent(num_blocks):
            order.append(name)
            await release[name].wait()

    # a leaves 4 of 10. b needs 8 and waits; c would fit, and waits behind b all the same. d is clipped to 10.
    tasks = [asyncio.create_task(trace(*asked)) for asked in (("a", 6), ("b", 8), ("c", 2), ("d", 99))]
    await settle()
    assert (order, budget.free) == (["a"], 4)
    release["a"].set()
    await settle()
    assert (order, budget.free) == (["a", "b", "c"], 0)
    release["b"].set()
    await settle()
    assert order == ["a", "b", "c"]
    release["c"].set()
    await settle()
    assert (order[-1], budget.free) == ("d", 0)
    release["d"].set()
    await asyncio.gather(*tasks)
    assert budget.free == 10


async def test_a_caller_who_leaves_gives_its_turn_away() -> None:
    budget = BlockBudget(4)
    entered: list[str] = []

    async def trace(name: str, num_blocks: int) -> None:
        async with budget.lent(num_blocks):
            entered.append(name)
            await asyncio.sleep(0)

    async with budget.lent(3):
        large, small = asyncio.create_task(trace("large", 4)), asyncio.create_task(trace("small", 1))
        await settle()
        large.cancel()
        await settle()
        # The head of the line left, so who waited behind it fits at once.
        assert entered == ["small"]
        late = asyncio.create_task(trace("late", 4))
        await settle()
    # Its turn has come and it has not run yet: leaving now must not lose the blocks.
    late.cancel()
    await asyncio.gather(large, small, late, return_exceptions=True)
    assert (budget.free, entered) == (4, ["small"])


def test_no_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 block"):
        BlockBudget(0)


async def test_weights_change_when_nobody_is_inside_and_nobody_enters_meanwhile() -> None:
    lock = ReadWriteLock()
    seen: list[str] = []
    leave = asyncio.Event()

    async def proof(name: str) -> None:
        async with lock.passing():
            seen.append(name)
            await leave.wait()

    async def change() -> None:
        async with lock.closed():
            seen.append("change")
            await asyncio.sleep(0)
            seen.append("changed")

    tasks = [asyncio.create_task(work) for work in (proof("a"), proof("b"), change(), proof("c"))]
    await settle()
    assert seen == ["a", "b"]
    leave.set()
    await asyncio.gather(*tasks)
    assert seen == ["a", "b", "change", "changed", "c"]
