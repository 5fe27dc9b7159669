from __future__ import annotations

from collections.abc import Hashable

from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.turns import Turns
from mrt_reward.protocols import Party


def party(caller: Hashable, request: Hashable = None) -> Party:
    """A request of a caller; callers are distinguished by their names."""
    return Party(caller, request)


def everything(turns: Turns[str]) -> list[str]:
    found: list[str] = []
    while (item := turns.take()) is not None:
        found.append(item)
    return found


def test_parties_take_turns_however_much_each_asks() -> None:
    turns: Turns[str] = Turns(lambda _: True)
    for caller, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")):
        turns.put(party(caller), item)
    assert everything(turns) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_requests_of_one_caller_share_its_turns() -> None:
    turns: Turns[str] = Turns(lambda _: True)
    for request in range(3):
        for number in range(2):
            turns.put(party("a", request), f"a{request}.{number}")
    turns.put(party("b"), "b1")
    turns.put(party("b"), "b2")
    assert everything(turns) == ["a0.0", "b1", "a1.0", "b2", "a2.0", "a0.1", "a1.1", "a2.1"]


def test_a_party_that_comes_late_waits_for_one_item_of_each_other() -> None:
    turns: Turns[str] = Turns(lambda _: True)
    for number in range(100):
        turns.put(party("much", number % 10), f"m{number}")
    assert turns.take() == "m0"
    turns.put(party("late"), "l0")
    assert [turns.take(), turns.take()] == ["m1", "l0"]


def test_what_nobody_wants_any_more_takes_no_turn() -> None:
    unwanted = {"a1", "a2", "b1"}
    turns: Turns[str] = Turns(lambda item: item not in unwanted)
    for caller, item in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3"), ("c", "c1")):
        turns.put(party(caller), item)
    assert everything(turns) == ["a3", "c1"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers())))
def test_nothing_is_lost_and_each_request_keeps_its_order(asked: list[tuple[int, int, int]]) -> None:
    turns: Turns[tuple[int, int, int]] = Turns(lambda _: True)
    for caller, request, item in asked:
        turns.put(party(caller, request), (caller, request, item))
    found: list[tuple[int, int, int]] = []
    while (item := turns.take()) is not None:
        found.append(item)
    for caller in range(4):
        for request in range(3):
            mine = [entry for entry in asked if entry[:2] == (caller, request)]
            assert [entry for entry in found if entry[:2] == (caller, request)] == mine
