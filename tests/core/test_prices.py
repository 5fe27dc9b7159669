from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.prices import episode_price, token_prices


def test_a_token_costs_what_the_others_make_of_theirs() -> None:
    # Progress 0.5, 0.25, 0.0 in 10, 20, 30 tokens: the first pays 0.25/50, the second 0.5/40, the third 0.75/30.
    price_G = token_prices(np.array([0.5, 0.25, 0.0]), np.array([10.0, 20.0, 30.0]))
    assert price_G == pytest.approx([0.005, 0.0125, 0.025])


def test_a_price_is_never_negative() -> None:
    # The others of the first trace went back by 0.5: going on costs it nothing, and is not paid for.
    assert token_prices(np.array([0.5, -0.5]), np.array([10.0, 10.0])) == pytest.approx([0.0, 0.05])


def test_a_trace_that_is_not_scored_sets_no_price_and_has_one() -> None:
    price_G = token_prices(np.array([0.5, np.nan, 0.3]), np.array([10.0, 1000.0, 10.0]))
    assert price_G == pytest.approx([0.03, 0.04, 0.05])


def test_nobody_else_is_no_price() -> None:
    assert token_prices(np.array([0.5]), np.array([10.0])).tolist() == [0.0]
    assert token_prices(np.array([0.5, np.nan]), np.array([10.0, 10.0])).tolist() == [0.0, 0.05]
    # Another that wrote nothing has no rate.
    assert token_prices(np.array([0.5, 0.0]), np.array([10.0, 0.0])).tolist() == [0.0, 0.05]


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(1, 500)), min_size=2, max_size=6), st.floats(-1, 1))
def test_a_trace_does_not_move_its_own_price(others: list[tuple[float, int]], own: float) -> None:
    progress_G, token_G = (np.array(each, np.float64) for each in zip(*others, strict=True))
    before = token_prices(progress_G, token_G)[0]
    progress_G[0], token_G[0] = own, 7.0
    assert token_prices(progress_G, token_G)[0] == before


@pytest.mark.parametrize(
    ("progress", "tokens", "said"),
    [([0.5], [1.0, 2.0], "one shape"), ([0.5, 0.5], [1.0, -1.0], "at least 0"), ([0.5], [np.nan], "at least 0")],
)
def test_what_is_no_group_is_refused(progress: list[float], tokens: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        token_prices(np.array(progress), np.array(tokens))


def test_an_episode_costs_the_mean_of_each_traces_mean_and_at_least_nothing() -> None:
    # Means 0.3 and 0.6.
    assert episode_price([np.array([0.2, 0.4]), np.array([0.6]), np.zeros(0)]) == pytest.approx(0.45)
    assert episode_price([np.array([-0.2, -0.4])]) == 0.0
    assert episode_price([]) == 0.0
