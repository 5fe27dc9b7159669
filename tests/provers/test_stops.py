"""Where an answer ends, by hand."""

from __future__ import annotations

import pytest

from mrt_reward.provers.stops import Stops, after_braces

BRACES = {3: "{", 4: "}", 5: "}{"}
STOPS = Stops(frozenset({0, 1}), BRACES)


@pytest.mark.parametrize(
    ("depth", "braces", "expected"),
    [(0, "}", (0, False)), (0, "{", (1, False)), (1, "}", (0, True)), (2, "}", (1, False)), (1, "}{", (1, True))],
)
def test_a_close_counts_where_it_balances_the_first_open_one(
    depth: int, braces: str, expected: tuple[int, bool]
) -> None:
    assert after_braces(depth, braces) == expected


def test_an_answer_ends_before_an_end_of_turn_and_with_the_token_that_balances_its_braces() -> None:
    ids = (7, 3, 8, 3, 4, 4, 9, 1, 6)
    assert STOPS.trimmed(ids, at_close=False) == (7, 3, 8, 3, 4, 4, 9)
    assert STOPS.trimmed(ids, at_close=True) == (7, 3, 8, 3, 4, 4)
    # The token that closes may open another.
    assert STOPS.trimmed((3, 8, 5, 9), at_close=True) == (3, 8, 5)


def test_an_answer_that_never_balances_is_whole() -> None:
    assert STOPS.trimmed((4, 3, 3, 4, 9), at_close=True) == (4, 3, 3, 4, 9)
