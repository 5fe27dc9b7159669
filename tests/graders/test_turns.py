from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.turns import Turns


def everything(turns: Turns[str]) -> list[str]:
    found: list[str] = []
    while (item := turns.take()) is not None:
        found.append(item)
    return found


def test_parties_take_turns_however_much_each_asks() -> None:
    turns: Turns[str] = Turns(lambda _: True)
    for party, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
        turns.put(party, item)
    assert everything(turns) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_a_party_that_comes_late_waits_for_one_item_of_each_other() -> None:
    turns: Turns[str] = Turns(lambda _: True)
    for number in range(100):
        turns.put("much", f"m{number}")
    assert turns.take() == "m0"
    turns.put("late", "l0")
    assert [turns.take(), turns.take()] == ["m1", "l0"]


def test_what_nobody_wants_any_more_takes_no_turn() -> None:
    unwanted = {"a1", "a2", "b1"}
    turns: Turns[str] = Turns(lambda item: item not in unwanted)
    for party, item in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("c", "c1")):
        turns.put(party, item)
    assert everything(turns) == ["a3", "c1"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers())))
def test_nothing_is_lost_and_each_party_keeps_its_order(asked: list[tuple[int, int]]) -> None:
    turns: Turns[tuple[int, int]] = Turns(lambda _: True)
    for party, item in asked:
        turns.put(party, (party, item))
    found: list[tuple[int, int]] = []
    while (item := turns.take()) is not None:
        found.append(item)
    for party in range(5):
        assert [item for whose, item in found if whose == party] == [item for whose, item in asked if whose == party]
