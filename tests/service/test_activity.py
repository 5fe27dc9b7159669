"""A drain refuses what comes and waits for what is there."""

from __future__ import annotations

import asyncio

import pytest

from mrt_reward.errors import Draining
from mrt_reward.service.activity import Activity


async def drained(activity: Activity) -> asyncio.Task[None]:
    """A drain that has begun."""
    task = asyncio.create_task(activity.drain())
    await asyncio.sleep(0)
    return task


async def test_a_drain_waits_for_all_that_is_in_flight() -> None:
    activity = Activity()
    with activity.one_more():
        with activity.one_more():
            draining = await drained(activity)
        await asyncio.sleep(0)
        assert not draining.done(), "one of two is still at work"
    await asyncio.wait_for(draining, 5)


async def test_where_nothing_is_in_flight_a_drain_is_over_at_once() -> None:
    activity = Activity()
    await asyncio.wait_for(activity.drain(), 5)
    with pytest.raises(Draining):
        activity.refuse_if_draining()


async def test_work_that_fails_is_no_longer_in_flight() -> None:
    activity = Activity()
    with pytest.raises(ZeroDivisionError), activity.one_more():
        raise ZeroDivisionError
    await asyncio.wait_for(activity.drain(), 5)


async def test_what_a_drain_refuses_says_when_to_ask_another_and_is_not_counted() -> None:
    activity = Activity()
    with activity.one_more():
        draining = await drained(activity)
        with pytest.raises(Draining, match="another replica") as refused, activity.one_more():
            raise AssertionError
        assert refused.value.retry_after_s > 0
    await asyncio.wait_for(draining, 5)


async def test_a_drain_that_is_taken_back_takes_work_again() -> None:
    activity = Activity()
    await activity.drain()
    activity.resume()
    with activity.one_more():
        assert not activity.draining
        again = await drained(activity)
        assert not again.done(), "what came after it was taken back is waited for"
    await asyncio.wait_for(again, 5)


async def test_a_drain_that_is_taken_back_early_still_ends_for_whoever_waits_for_it() -> None:
    activity = Activity()
    with activity.one_more():
        draining = await drained(activity)
        activity.resume()
    await asyncio.wait_for(draining, 5)
    assert not activity.draining


async def test_an_end_for_good_cannot_be_taken_back() -> None:
    activity = Activity()
    activity.end()
    with pytest.raises(Draining):
        activity.resume()
    with pytest.raises(Draining):
        activity.refuse_if_draining()
    await asyncio.wait_for(activity.drain(), 5)
