from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.pairs import paired_progress
from mrt_reward.types import Verdict

RIGHT, WRONG, NONE, LOST = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, Verdict.UNGRADED
verdicts = st.lists(st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(list(Verdict))), min_size=1, max_size=24)


def test_it_is_what_the_pairs_gained_and_lost() -> None:
    # Gained twice, lost once, of 5.
    found = paired_progress([WRONG, NONE, RIGHT, RIGHT, WRONG], [RIGHT, RIGHT, WRONG, RIGHT, NONE])
    assert found is not None
    assert found.progress == pytest.approx(1 / 5)
    # Dirichlet(2.5, 1.5, 3): E[d²] = (2.5·3.5 + 1.5·2.5 - 2·2.5·1.5) / (7·8) = 5/56, E[d] = 1/7.
    assert found.stderr == pytest.approx((5 / 56 - 1 / 49) ** 0.5)


def test_pairs_that_all_agree_leave_doubt() -> None:
    four, many = (paired_progress([RIGHT] * n, [RIGHT] * n) for n in (4, 400))
    assert four is not None
    assert many is not None
    assert four.progress == many.progress == 0
    assert four.low < -0.1 < 0.1 < four.high
    assert four.low == pytest.approx(-four.high, abs=1e-6)
    assert -0.02 < many.low < many.high < 0.02


def test_an_ungraded_answer_takes_its_partner_with_it() -> None:
    whole = paired_progress([RIGHT, WRONG, WRONG], [RIGHT, RIGHT, WRONG])
    assert paired_progress([RIGHT, WRONG, LOST, WRONG], [RIGHT, RIGHT, RIGHT, WRONG]) == whole
    assert paired_progress([LOST, WRONG], [RIGHT, LOST]) is None
    assert paired_progress([], []) is None


def test_answers_that_have_no_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        paired_progress([RIGHT], [RIGHT, WRONG])


@given(verdicts)
def test_going_back_is_the_opposite(pairs: list[tuple[Verdict, Verdict]]) -> None:
    before, after = (list(side) for side in zip(*pairs, strict=True))
    forth, back = paired_progress(before, after), paired_progress(after, before)
    if forth is None or back is None:
        assert forth is back
        return
    assert forth.progress == -back.progress
    assert forth.stderr == pytest.approx(back.stderr)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-4)
    assert -1 <= forth.low <= forth.progress <= forth.high <= 1


@pytest.mark.parametrize(
    ("gained", "lost", "same"), [(0, 0, 4), (1, 0, 3), (4, 0, 0), (2, 2, 4), (3, 1, 60), (40, 30, 930)]
)
def test_the_interval_is_that_of_a_dirichlet(gained: int, lost: int, same: int) -> None:
    before = [WRONG] * gained + [RIGHT] * lost + [WRONG] * same
    after = [RIGHT] * gained + [WRONG] * lost + [WRONG] * same
    found = paired_progress(before, after)
    assert found is not None
    draws_N4 = np.random.default_rng(0).dirichlet([gained + 0.5, lost + 0.5, same + 0.5, 0.5], 400_000)
    difference_N = draws_N4[:, 0] - draws_N4[:, 1]
    assert found.stderr == pytest.approx(difference_N.std(), rel=0.01)
    # The interval is widened to hold the progress itself; inside it lies what the draws say.
    low, high = np.quantile(difference_N, [0.025, 0.975])
    tolerance = 0.02 * (high - low)
    assert found.low == pytest.approx(min(low, found.progress), abs=tolerance)
    assert found.high == pytest.approx(max(high, found.progress), abs=tolerance)
