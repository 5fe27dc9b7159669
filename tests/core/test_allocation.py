from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.allocation import SETTLED, Allocation
from mrt_reward.types import Posterior


def posterior_of(stderrs: Sequence[float]) -> Posterior:
    num = len(stderrs)
    return Posterior((0.5,) * (num + 1), ((0.0, 1.0),) * (num + 1), (0.5,) * num, tuple(stderrs), ((-1.0, 1.0),) * num)


def test_the_least_certain_episode_is_first_in_line_for_half_of_what_is_left() -> None:
    # Four answers a prefix, of 4 prefixes: 16 in blocks of 2, of which 4 blocks are given. Of 4 that are left, 2 go.
    allocation = Allocation(4.0, 16)
    assert (allocation.block, allocation.most_blocks) == (2, 8)
    assert allocation.next_round(posterior_of([0.1, 0.3, 0.06]), [1, 1, 1, 1]) == [1, 2]
    # Of 2 that are left, both: half would not be a pair.
    assert allocation.next_round(posterior_of([0.1, 0.3, 0.06]), [1, 2, 2, 1]) == [1, 2]
    assert allocation.next_round(posterior_of([0.3, 0.1, 0.06]), [1, 2, 2, 1]) == [0, 3]
    assert allocation.next_round(posterior_of([0.1, 0.3, 0.06]), [2, 2, 2, 2]) == []
    # Eight of 8 prefixes: 8 blocks are left, and 4 go to the two least certain episodes.
    assert allocation.next_round(posterior_of([0.1, 0.06, 0.4, 0.06, 0.06, 0.06, 0.3]), [1] * 8) == [2, 3, 6, 7]


def test_what_is_settled_gets_nothing() -> None:
    assert Allocation(4.0, 16).next_round(posterior_of([0.2, SETTLED / 2, SETTLED / 2]), [1, 1, 1, 1]) == [0, 1]
    assert Allocation(4.0, 16).next_round(posterior_of([SETTLED / 2] * 3), [1, 1, 1, 1]) == []
    assert Allocation(4.0, 16).next_round(posterior_of([]), [1]) == []


def test_a_prefix_that_has_more_waits_for_its_neighbour() -> None:
    assert Allocation(4.0, 16).next_round(posterior_of([0.2]), [1, 2]) == [0]


def test_no_prefix_gets_more_than_its_most() -> None:
    assert Allocation(4.0, 4).next_round(posterior_of([0.2, 0.0, 0.0, 0.0, 0.0]), [2, 2, 1, 1, 1, 1]) == []
    assert Allocation(1.0, 1).block == Allocation(1.0, 1).most_blocks == 1


@given(st.floats(1, 20), st.integers(20, 64), st.lists(st.floats(0, 0.5), min_size=1, max_size=12))
def test_rounds_end_within_the_budget(mean: float, most: int, stderrs: list[float]) -> None:
    allocation = Allocation(mean, most)
    blocks = [1] * (len(stderrs) + 1)
    for _ in range(1000):
        indices = allocation.next_round(posterior_of(stderrs), blocks)
        if not indices:
            break
        for index in indices:
            blocks[index] += 1
    else:
        pytest.fail("it does not end")
    assert sum(blocks) * allocation.block <= mean * len(blocks)
    assert max(blocks) * allocation.block <= most
