"""What fails is left out, and comes back."""

from __future__ import annotations

import pytest

from mrt_reward.service import outage
from mrt_reward.service.outage import LONGEST_AWAY_S, Outage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outage, "time", clock)
    return clock


def broken() -> int:
    raise OSError("gone")


def test_each_failure_in_a_row_leaves_it_out_for_twice_as_long_up_to_a_bound(clock: Clock) -> None:
    one = Outage("read", "here", 1.0)
    waits: list[float] = []
    for _ in range(8):
        assert isinstance(one.attempt(broken), OSError)
        waits.append(one.seconds_left)
        clock.now += one.seconds_left
    assert waits == [1, 2, 4, 8, 16, 32, LONGEST_AWAY_S, LONGEST_AWAY_S]
    assert one.num_failures == 8


def test_what_failed_while_it_was_left_out_is_counted_and_changes_nothing(clock: Clock) -> None:
    one = Outage("read", "here", 1.0)
    for _ in range(3):
        one.attempt(broken)
    assert (one.num_failures, one.seconds_left) == (3, 1.0)
    clock.now += 1.0
    assert one.attempt(lambda: 7) == 7
    one.attempt(broken)
    assert one.seconds_left == 1.0, "success begins anew"
