from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.evaluation.progress import (
    BIN_EDGES,
    needless_share,
    progress_histogram,
    progress_shares,
    quarter_gains,
)


def test_shares_of_episodes_worked_by_hand() -> None:
    progress = np.array([0.5, 0.01, -0.02, -0.3, np.nan])
    shares = progress_shares(progress, 0.02)
    # Of four measured: 0.01 is below the threshold, -0.02 is not.
    assert (shares.zero, shares.negative, shares.positive) == (0.25, 0.5, 0.25)
    assert np.isnan(progress_shares(np.array([np.nan]), 0.02).zero)


def test_a_histogram_has_zero_in_its_middle_and_holds_everything() -> None:
    share = progress_histogram(np.array([0.0, 0.04, 0.3 - 0.25, 1.0, -1.0, np.nan]))
    assert len(share) == len(BIN_EDGES) - 1 == 21
    # 0.05 lies on an edge, and belongs to the bin above it.
    assert (share[10], share[11], share[20], share[0]) == (0.4, 0.2, 0.2, 0.2)
    assert np.isnan(progress_histogram(np.array([]))).all()


def test_gains_by_quarter_worked_by_hand() -> None:
    # Linear from 0 to 1/2 over the first half, flat in the second.
    gains = quarter_gains(np.array([100.0, 150.0, 200.0]), np.array([0.0, 0.5, 0.5]))
    assert gains == pytest.approx([0.25, 0.25, 0.0, 0.0], abs=1e-12)
    assert np.isnan(quarter_gains(np.array([100.0]), np.array([0.5]))).all()
    assert np.isnan(quarter_gains(np.array([1.0, 2.0]), np.array([0.5, np.nan]))).all()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_the_quarters_sum_to_the_whole_progress(values: list[float]) -> None:
    value = np.array(values)
    tokens = np.linspace(10.0, 80.0, value.size)
    assert quarter_gains(tokens, value).sum() == pytest.approx(value[-1] - value[0], abs=1e-9)


def test_needless_tokens_worked_by_hand() -> None:
    tokens = np.array([100.0, 140.0, 180.0, 200.0])
    # Solved at 140, so 60 of 100 thinking tokens came after; falling back later does not undo it.
    assert needless_share(tokens, np.array([0.1, 0.95, 0.5, 1.0])) == pytest.approx(0.6)
    assert needless_share(tokens, np.array([0.1, 0.2, 0.3, 0.4])) == 0.0
    assert np.isnan(needless_share(tokens[:1], np.array([0.1])))
