from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from mrt_reward.mini.bundled import MINI_DEEP
from mrt_reward.mini.charts import DEEP, SHORT, sample_charted_problems
from mrt_reward.mini.truth import open_candidates
from tests.study.bounds import SEARCHERS, bounds


@pytest.mark.parametrize("searcher", ["terse", "tidy"])
def test_a_searcher_without_waste_learns_something_from_each_episode_and_ends_at_the_answer(searcher: str) -> None:
    for problem in sample_charted_problems(8, 1, DEEP):
        written = SEARCHERS[searcher](problem, np.random.default_rng(2))
        left = [len(open_candidates(problem, text)) for text in written]
        assert left[0] == len(problem.candidates)
        assert all(after < before for before, after in pairwise(left))
        assert open_candidates(problem, written[-1]) == (problem.answer,)


def test_fewer_words_have_less_regret() -> None:
    found = bounds(SHORT, MINI_DEEP.folder, 16)
    assert [bound.searcher for bound in found] == ["terse", "tidy", "sloppy"]
    assert sorted(found, key=lambda bound: bound.regret) == list(found)
    assert sorted(found, key=lambda bound: bound.tokens) == list(found)
    assert all(0.0 < bound.regret < 1.0 for bound in found)
