"""An endpoint that keeps failing is left alone, and tried by one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from mrt_reward.backoff import Backoff
from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.provers.openai.breaker import MAX_FAILURES, Breaker


@dataclass(frozen=True)
class Steady(Backoff):
    """Waits without jitter: 1, 2, 4, … seconds, at most 10."""

    def wait_s(self, num_tries: int, least_s: float) -> float:
        return min(10.0, 2.0 ** (num_tries - 1))


class Asked:
    """A breaker at a clock that the test turns, and how often its endpoint was asked."""

    def __init__(self) -> None:
        self.now = 100.0
        self.num_asked = 0
        self.breaker = Breaker("http://engine:9", Steady(), lambda: self.now)

    def ask(self, outcome: BaseException | None = None) -> None:
        with self.breaker.passage():
            self.num_asked += 1
            if outcome is not None:
                raise outcome

    def fail(self, num_times: int = 1) -> None:
        for _ in range(num_times):
            with pytest.raises(ProverUnavailable, match="gone"):
                self.ask(ProverUnavailable("gone"))

    def refused(self) -> str:
        before = self.num_asked
        with pytest.raises(ProverUnavailable) as caught:
            self.ask()
        assert self.num_asked == before
        return str(caught.value)


def test_failures_in_a_row_open_it_and_then_nobody_asks() -> None:
    asked = Asked()
    asked.fail(MAX_FAILURES - 1)
    assert not asked.breaker.is_open
    asked.fail()
    assert asked.breaker.is_open
    reported = asked.refused()
    for part in ("http://engine:9", f"failed {MAX_FAILURES} times", "in 1.0 s", "gone"):
        assert part in reported
    assert asked.num_asked == MAX_FAILURES


@pytest.mark.parametrize("outcome", [None, ProverError("bad question")])
def test_an_answer_begins_the_count_anew_and_a_refusal_is_one(outcome: ProverError | None) -> None:
    asked = Asked()
    for _ in range(3):
        asked.fail(MAX_FAILURES - 1)
        if outcome is None:
            asked.ask()
        else:
            with pytest.raises(ProverError):
                asked.ask(outcome)
    assert not asked.breaker.is_open


def test_after_the_wait_one_tries_and_each_failure_doubles_the_wait_up_to_the_longest() -> None:
    asked = Asked()
    asked.fail(MAX_FAILURES)
    for wait_s in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        asked.now += wait_s - 0.1
        asked.refused()
        asked.now += 0.1
        asked.fail()
    asked.now += 10.0
    asked.ask()
    assert not asked.breaker.is_open
    asked.fail(MAX_FAILURES)
    assert "in 1.0 s" in asked.refused(), "what was is forgotten"


async def test_while_one_tries_the_others_are_refused_and_one_who_leaves_makes_room_for_the_next() -> None:
    asked = Asked()
    asked.fail(MAX_FAILURES)
    asked.now += 1.0
    never = asyncio.Event()

    async def trial() -> None:
        with asked.breaker.passage():
            await never.wait()

    trying = asyncio.create_task(trial())
    await asyncio.sleep(0)
    assert "by another question" in asked.refused()
    trying.cancel()
    await asyncio.gather(trying, return_exceptions=True)
    assert asked.breaker.is_open
    asked.ask()
    assert not asked.breaker.is_open


def test_those_that_were_under_way_when_it_opened_do_not_lengthen_the_wait() -> None:
    asked = Asked()
    passages = [asked.breaker.passage() for _ in range(3 * MAX_FAILURES)]
    for passage in passages:
        passage.__enter__()
    for passage in passages:
        assert not passage.__exit__(ProverUnavailable, ProverUnavailable("gone"), None), "the error is passed on"
    assert "in 1.0 s" in asked.refused()
