from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.beta import beta_cdf
from mrt_reward.core.levels import NO_PAIRS, NUM_LEVELS, Levels, levels_of
from mrt_reward.options import PathPrior


@given(st.floats(0.5, 5), st.floats(0.5, 5))
def test_levels_start_as_a_beta_distribution(a: float, b: float) -> None:
    levels = levels_of(PathPrior(a=a, b=b))
    below_B = np.concatenate([[0.0], np.cumsum(levels.start_G)])
    assert below_B == pytest.approx([beta_cdf(a, b, x) for x in levels.bound_B.tolist()], abs=2e-3)
    assert (levels.bound_B[0], levels.bound_B[-1]) == (0.0, 1.0)
    assert ((levels.bound_B[:-1] < levels.level_G) & (levels.level_G < levels.bound_B[1:])).all()


@pytest.mark.parametrize("drift", [0.0, 0.02, 0.3, 1.0])
def test_every_level_goes_somewhere(drift: float) -> None:
    levels = levels_of(PathPrior(change=0.3, drift=drift))
    assert levels.move_GG.sum(axis=1) == pytest.approx(np.ones(NUM_LEVELS))
    assert levels.still_GG.sum(axis=1) == pytest.approx(np.full(NUM_LEVELS, 0.7))
    if drift == 0:
        assert (levels.still_GG == 0.7 * np.eye(NUM_LEVELS)).all()


@pytest.mark.parametrize("coupling", [0.0, 0.5, 0.98])
def test_the_second_of_a_pair_is_right_as_often_as_its_own_level_says(coupling: float) -> None:
    levels = levels_of(PathPrior(coupling=coupling))
    kept_GG, dropped_GG, gained_GG, missed_GG = np.exp(levels.log_pair_4GG)
    x_G = levels.level_G[:, None]
    assert kept_GG + dropped_GG == pytest.approx(np.ones((NUM_LEVELS, NUM_LEVELS)))
    assert gained_GG + missed_GG == pytest.approx(np.ones((NUM_LEVELS, NUM_LEVELS)))
    assert x_G * kept_GG + (1 - x_G) * gained_GG == pytest.approx(np.tile(levels.level_G, (NUM_LEVELS, 1)))


def test_a_pair_that_gained_leaves_moves_upwards() -> None:
    levels = levels_of(PathPrior(coupling=0.98))
    gained = levels.moved((0, 0, 3, 0))
    rises = np.subtract.outer(levels.level_G, levels.level_G).T > 0
    assert gained.move_GG[rises].sum() > 20 * gained.move_GG[~rises].sum()
    none: Levels = levels
    assert none.moved(NO_PAIRS).move_GG is levels.move_GG
