from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.core.levels import NUM_LEVELS, levels_of
from mrt_reward.core.prior_fit import fit_prior
from mrt_reward.core.values import rollout_value
from mrt_reward.options import PathPrior
from mrt_reward.types import Value, Verdict

RIGHT, WRONG = Verdict.CORRECT, Verdict.INCORRECT


def test_the_prior_is_found_again_from_answers_that_it_made() -> None:
    rng = np.random.default_rng(1)
    truth = PathPrior(change=0.2, drift=0.02, a=2.0, b=0.7)
    levels = levels_of(truth)
    traces: list[list[Value]] = []
    for _ in range(40):
        path = [int(rng.choice(NUM_LEVELS, p=levels.start_G))]
        for _ in range(8):
            path.append(int(rng.choice(NUM_LEVELS, p=levels.move_GG[path[-1]])))
        correct_P = rng.binomial(16, levels.level_G[path]).tolist()
        traces.append([rollout_value([RIGHT] * c + [WRONG] * (16 - c)) for c in correct_P])
    found = fit_prior(traces)
    assert found.change in (0.1, 0.2, 0.35)
    assert found.a in (1.5, 2.0)
    assert found.b in (0.5, 0.7, 1.0)
    # No pair tells of coupling, and no likelihood of strength.
    assert (found.coupling, found.strength) == (PathPrior().coupling, PathPrior().strength)
    with pytest.raises(ValueError, match="expected traces"):
        fit_prior([[Value(0.5)]])
