"""Whose turn it is for a slot."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.service.fair_slots import MAX_REMEMBERED, FairSlots
from tests.service.test_queue import settle


class Bench:
    """Holds each slot until told, and notes who got one."""

    def __init__(self, num_slots: int = 1) -> None:
        self.turns = FairSlots(num_slots)
        self.served: list[Hashable] = []
        self.next = asyncio.Semaphore(0)

    async def work(self, caller: Hashable, cost: float) -> None:
        async with self.turns.slot(caller, cost):
            self.served.append(caller)
            await self.next.acquire()

    def ask(self, caller: Hashable, num: int, cost: float = 1.0) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.work(caller, cost)) for _ in range(num)]

    async def go_on(self, num: int) -> None:
        for _ in range(num):
            self.next.release()
            await settle()


async def test_a_neighbour_of_a_flood_waits_for_what_runs_and_then_has_every_other_turn() -> None:
    bench = Bench()
    tasks = bench.ask("flood", 100)
    await settle()
    tasks += bench.ask("neighbour", 3)
    await settle()
    await bench.go_on(7)
    # One piece of the flood was running. Then both have been served as much as the other, again and again.
    assert bench.served[0] == "flood"
    assert bench.served[1] == "neighbour"
    assert bench.served[:7].count("neighbour") == 3
    await bench.go_on(100)
    await asyncio.gather(*tasks)


async def test_turns_are_shared_by_cost_and_not_by_number() -> None:
    bench = Bench()
    tasks = [*bench.ask("large", 20, cost=10.0), *bench.ask("small", 200, cost=1.0)]
    await settle()
    await bench.go_on(110)
    # 110 slots of 10 large and 100 small ones: 100 units for each of the two.
    assert bench.served[:110].count("large") == pytest.approx(10, abs=1)
    await bench.go_on(110)
    await asyncio.gather(*tasks)


async def test_nobody_saves_up_turns_by_waiting() -> None:
    bench = Bench()
    tasks = bench.ask("early", 1)
    await settle()
    await bench.go_on(1)
    tasks += bench.ask("busy", 50)
    await settle()
    await bench.go_on(40)
    tasks += bench.ask("early", 5)
    await settle()
    await bench.go_on(9)
    assert bench.served[41:50].count("early") <= 5
    assert "busy" in bench.served[41:46]
    await bench.go_on(20)
    await asyncio.gather(*tasks)


async def test_work_that_nobody_waits_for_any_more_costs_its_caller_no_turn() -> None:
    bench = Bench()
    running = bench.ask("other", 1)
    await settle()
    left = bench.ask("a", 50)
    await settle()
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    assert bench.turns.num_waiting == 0
    tasks = [*running, *bench.ask("a", 1), *bench.ask("b", 2)]
    await settle()
    await bench.go_on(4)
    await asyncio.gather(*tasks)
    assert bench.served[1] == "a"


async def test_a_turn_that_comes_when_its_caller_leaves_goes_to_the_next() -> None:
    bench = Bench()
    first, second, third = (*bench.ask("a", 1), *bench.ask("b", 1), *bench.ask("c", 1))
    await settle()
    first.cancel()
    await asyncio.sleep(0)
    second.cancel()  # It has the slot by now, and does not know yet.
    await settle()
    assert bench.served[-1] == "c"
    await bench.go_on(1)
    await third
    await asyncio.gather(first, second, return_exceptions=True)


async def test_a_slot_that_is_given_back_before_the_one_who_leaves_is_woken_goes_to_the_next() -> None:
    slots = FairSlots(1)
    held = slots.slot("a", 1.0)
    await held.__aenter__()

    async def wait(caller: str) -> None:
        async with slots.slot(caller, 1.0):
            pass

    leaving, staying = asyncio.create_task(wait("b")), asyncio.create_task(wait("c"))
    await settle()
    leaving.cancel()
    await held.__aexit__(None, None, None)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(staying, 5)
    await asyncio.wait_for(wait("d"), 5)
    assert slots.num_waiting == 0


async def test_callers_who_have_gone_are_forgotten() -> None:
    turns = FairSlots(2)
    async with turns.slot("busy", 1.0):
        for caller in range(3 * MAX_REMEMBERED):
            async with turns.slot(caller, 1.0):
                assert len(turns._served) <= 2 * MAX_REMEMBERED
    assert not turns._served, "nobody is there, so all start anew"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20)), min_size=1, max_size=40), st.integers(1, 4))
def test_every_piece_gets_a_slot_once_and_never_more_run_than_there_are(
    pieces: list[tuple[int, int]], num_slots: int
) -> None:
    async def run() -> tuple[int, list[int]]:
        turns, running, most, done = FairSlots(num_slots), 0, 0, [0, 0, 0, 0]

        async def work(caller: int, cost: int) -> None:
            nonlocal running, most
            async with turns.slot(caller, cost):
                running += 1
                most = max(most, running)
                for _ in range(cost % 3):
                    await asyncio.sleep(0)
                running -= 1
                done[caller] += 1

        await asyncio.gather(*(work(*piece) for piece in pieces))
        assert turns.num_waiting == 0
        return most, done

    most, done = asyncio.run(run())
    assert most <= num_slots
    assert done == [sum(caller == each for each, _ in pieces) for caller in range(4)]
