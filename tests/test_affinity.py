from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.affinity import ranked

NAMES = [f"http://host-{index}:8000" for index in range(5)]
KEYS = [f"trace {index}" for index in range(2000)]


@given(st.text(), st.lists(st.text(), unique=True, max_size=6))
def test_every_name_has_its_rank_whatever_the_order_in_which_they_are_given(key: str, names: list[str]) -> None:
    order = [names[index] for index in ranked(key, names)]
    assert sorted(order) == sorted(names)
    backwards = names[::-1]
    assert [backwards[index] for index in ranked(key, backwards)] == order


def first_of(names: list[str]) -> dict[str, str]:
    return {key: names[ranked(key, names)[0]] for key in KEYS}


def test_keys_spread_evenly() -> None:
    counts = Counter(first_of(NAMES).values())
    # 400 of 2000 each; √(2000 · 0.2 · 0.8) = 18 is one deviation.
    assert all(abs(counts[name] - 400) < 5 * 18 for name in NAMES)


@pytest.mark.parametrize("gone", NAMES)
def test_a_name_that_goes_moves_its_own_keys_only_and_to_all_others(gone: str) -> None:
    whole, rest = first_of(NAMES), first_of([name for name in NAMES if name != gone])
    moved = {key for key in KEYS if whole[key] != rest[key]}
    assert moved == {key for key in KEYS if whole[key] == gone}
    assert len({rest[key] for key in moved}) == 4
    # Coming back is the same seen from the other side: what it had, it has again, and nothing else moves.
    assert first_of(NAMES) == whole


@pytest.mark.parametrize("name", NAMES)
def test_keys_that_begin_with_a_name_belong_there_and_spread_over_the_others(name: str) -> None:
    rest = [other for other in NAMES if other != name]
    keys = [name, *(f"{name}#{key}" for key in KEYS)]
    orders = {key: [NAMES[index] for index in ranked(key, NAMES)] for key in keys}
    assert {order[0] for order in orders.values()} == {name}
    assert all(order[1:] == [rest[index] for index in ranked(key, rest)] for key, order in orders.items())
    assert {order[1] for order in orders.values()} == set(rest)
