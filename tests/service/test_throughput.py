from __future__ import annotations

import pytest

from mrt_reward.service.throughput import HALF_LIFE_S, LONGEST_S, SHORTEST_S, UNKNOWN_S, Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def measured(*batches: tuple[float, int]) -> Throughput:
    clock = Clock()
    speed = Throughput(clock)
    for seconds, tokens in batches:
        speed.begin()
        clock.now += seconds
        speed.end(tokens)
        clock.now += 1000.0  # Nothing to do is no slowness.
    return speed


def test_a_wait_is_the_queue_over_the_measured_speed() -> None:
    speed = measured((2.0, 2000))
    assert speed.wait_s(5000) == pytest.approx(5.0)
    assert speed.wait_s(20_000) == pytest.approx(20.0)


def test_waits_are_bounded_and_a_speed_that_is_not_known_has_a_constant_one() -> None:
    assert measured().wait_s(10**9) == UNKNOWN_S
    assert measured((2.0, 0)).wait_s(10**9) == UNKNOWN_S
    assert measured((2.0, 2000)).wait_s(1) == SHORTEST_S
    assert measured((2.0, 2000)).wait_s(10**9) == LONGEST_S


def test_recent_work_counts_more() -> None:
    # 100 s at 10 tokens a second fade to a share of 2^(-100/30) while 100 s at 1000 pass.
    wait_s = measured((100.0, 1000), (100.0, 100_000)).wait_s(10_000)
    fading = 0.5 ** (100.0 / HALF_LIFE_S)
    assert wait_s == pytest.approx(10_000 * (100 * fading + 100) / (1000 * fading + 100_000))
    assert wait_s < 10_000 / 900


def test_batches_that_run_together_share_their_time() -> None:
    clock = Clock()
    speed = Throughput(clock)
    for _ in range(4):
        speed.begin()
    clock.now += 2.0
    for _ in range(4):
        speed.end(1000)
    assert speed.wait_s(20_000) == pytest.approx(10.0)
