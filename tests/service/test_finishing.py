"""Traces of one request: begun in turn, given back as they finish, stopped together."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Generator, Mapping
from contextlib import aclosing, contextmanager

import pytest

from mrt_reward.protocols import asking_party
from mrt_reward.protocols.stages import Note, followed_by
from mrt_reward.service.finishing import BEGUN_AT_ONCE, as_finished
from mrt_reward.types import ScoredTrace, Status


async def test_a_trace_is_given_back_as_soon_as_it_is_scored_and_all_are_one_party() -> None:
    later, parties = asyncio.Event(), set[object]()

    async def scoring(index: int) -> tuple[int, ScoredTrace]:
        parties.add(asking_party())
        if index == 0:
            await later.wait()
        return index, ScoredTrace(str(index), Status.OK)

    order: list[int] = []
    async with aclosing(as_finished(map(scoring, range(3)), 10)) as finished:
        async for index, _ in finished:
            order.append(index)
            if len(order) == 2:
                later.set()
    assert (sorted(order[:2]), order[2]) == ([1, 2], 0)
    assert len(parties) == 1


async def test_closing_it_stops_the_rest_and_its_stage_counts_what_was_given_back() -> None:
    stages: list[dict[str, int]] = []
    stopped: list[int] = []

    @contextmanager
    def follow(_name: str, counts: Mapping[str, int]) -> Generator[Note]:
        noted = dict(counts)
        try:
            yield noted.update
        finally:
            stages.append(noted)

    async def scoring(index: int) -> tuple[int, ScoredTrace]:
        try:
            await asyncio.sleep(0 if index < 2 else 3600)
        except asyncio.CancelledError:
            stopped.append(index)
            raise
        return index, ScoredTrace(str(index), Status.ERROR if index else Status.OK)

    async def request() -> None:
        followed_by(follow)
        async with aclosing(as_finished(map(scoring, range(4)), 99)) as finished:
            for _ in range(2):
                await anext(finished)

    await asyncio.create_task(request(), name="request")
    assert sorted(stopped) == [2, 3]
    assert stages == [{"tokens": 99, "traces": 4, "ok": 1, "error": 1}]


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_its_stage_ends_by_what_ended_it(error: type[BaseException]) -> None:
    ended_by: list[type[BaseException]] = []

    @contextmanager
    def follow(_name: str, _counts: Mapping[str, int]) -> Generator[Note]:
        try:
            yield lambda _: None
        except BaseException as ending:
            ended_by.append(type(ending))
            raise

    async def scoring() -> tuple[int, ScoredTrace]:
        raise error

    async def request() -> None:
        followed_by(follow)
        async for _ in as_finished([scoring()], 1):
            raise AssertionError("nothing is scored")

    with pytest.raises(error):
        await asyncio.create_task(request(), name="request")
    assert ended_by == [error]


async def test_others_get_their_turn_while_a_large_request_is_begun() -> None:
    begun = 0

    async def scoring(index: int) -> tuple[int, ScoredTrace]:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0)
        return index, ScoredTrace(str(index), Status.OK)

    async def look() -> int:
        return begun

    looking = asyncio.create_task(look())
    found = [index async for index, _ in as_finished(map(scoring, range(3 * BEGUN_AT_ONCE)), 1)]
    assert sorted(found) == list(range(3 * BEGUN_AT_ONCE))
    assert await looking <= BEGUN_AT_ONCE


async def test_its_stage_ends_where_the_generator_is_closed_in_another_context() -> None:
    async def scoring(index: int) -> tuple[int, ScoredTrace]:
        return index, ScoredTrace(str(index), Status.OK)

    marked: contextvars.ContextVar[bool] = contextvars.ContextVar("marked", default=False)
    ended: list[bool] = []

    @contextmanager
    def follow(_name: str, _counts: Mapping[str, int]) -> Generator[Note]:
        token = marked.set(True)
        try:
            yield lambda _counts: None
        finally:
            marked.reset(token)  # refused in any other context
            ended.append(True)

    here = contextvars.copy_context()
    here.run(followed_by, follow)
    finished = as_finished(map(scoring, range(2)), 1)

    async def first() -> int:
        return (await anext(finished))[0]

    assert await here.run(asyncio.create_task, first()) in {0, 1}
    await asyncio.create_task(finished.aclose())
    assert ended == [True]
