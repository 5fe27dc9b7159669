from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.differences import ProgressUncertainty, independent, paired
from mrt_reward.core.values import rollout_value
from mrt_reward.types import Verdict

RIGHT, WRONG, NONE, LOST = Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED, Verdict.UNGRADED
verdicts = st.lists(st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(list(Verdict))), min_size=1, max_size=24)
counted = st.integers(1, 40).flatmap(lambda graded: st.tuples(st.integers(0, graded), st.just(graded)))


def known(found: ProgressUncertainty | None) -> ProgressUncertainty:
    assert found is not None
    return found


def test_it_is_what_the_pairs_gained_and_lost() -> None:
    # Gained twice, lost once, of 5.
    found = known(paired([WRONG, NONE, RIGHT, RIGHT, WRONG], [RIGHT, RIGHT, WRONG, RIGHT, NONE]))
    # Dirichlet(2.5, 1.5, 3): E[d²] = (2.5·3.5 + 1.5·2.5 - 2·2.5·1.5) / (7·8) = 5/56, E[d] = 1/7.
    assert found.stderr == pytest.approx((5 / 56 - 1 / 49) ** 0.5)
    assert found.low < 1 / 5 < found.high


def test_pairs_that_all_agree_leave_doubt() -> None:
    four, many = (known(paired([RIGHT] * n, [RIGHT] * n)) for n in (4, 400))
    assert four.low < -0.1 < 0.1 < four.high
    assert four.low == pytest.approx(-four.high, abs=1e-6)
    assert -0.02 < many.low < many.high < 0.02


def test_an_ungraded_answer_takes_its_partner_with_it() -> None:
    whole = paired([RIGHT, WRONG, WRONG], [RIGHT, RIGHT, WRONG])
    assert paired([RIGHT, WRONG, LOST, WRONG], [RIGHT, RIGHT, RIGHT, WRONG]) == whole
    assert paired([LOST, WRONG], [RIGHT, LOST]) is None
    assert paired([], []) is None


def test_answers_that_have_no_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        paired([RIGHT], [RIGHT, WRONG])


@given(verdicts)
def test_going_back_is_the_opposite_for_pairs(pairs: list[tuple[Verdict, Verdict]]) -> None:
    before, after = (list(side) for side in zip(*pairs, strict=True))
    forth, back = paired(before, after), paired(after, before)
    if forth is None or back is None:
        assert forth is back
        return
    assert forth.stderr == pytest.approx(back.stderr)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-3)
    assert -1 <= forth.low <= forth.high <= 1


@given(counted, counted)
def test_going_back_is_the_opposite_for_independent_answers(before: tuple[int, int], after: tuple[int, int]) -> None:
    forth, back = independent(before, after), independent(after, before)
    assert forth.stderr == pytest.approx(back.stderr)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-3)
    progress = after[0] / after[1] - before[0] / before[1]
    assert -1 <= forth.low <= progress <= forth.high <= 1
    # The standard error of independent values adds in squares.
    stderrs = [rollout_value([RIGHT] * c + [WRONG] * (n - c)).stderr for c, n in (before, after)]
    assert forth.stderr == pytest.approx(math.hypot(*(stderr or 0.0 for stderr in stderrs)), rel=1e-4)


@pytest.mark.parametrize(
    ("gained", "lost", "same"), [(0, 0, 4), (1, 0, 3), (4, 0, 0), (2, 2, 4), (3, 1, 60), (40, 30, 930)]
)
def test_the_interval_of_pairs_is_that_of_a_dirichlet(gained: int, lost: int, same: int) -> None:
    before = [WRONG] * gained + [RIGHT] * lost + [WRONG] * same
    after = [RIGHT] * gained + [WRONG] * lost + [WRONG] * same
    draws_N4 = np.random.default_rng(0).dirichlet([gained + 0.5, lost + 0.5, same + 0.5, 0.5], 400_000)
    agrees(known(paired(before, after)), draws_N4[:, 0] - draws_N4[:, 1], (gained - lost) / len(before))


@pytest.mark.parametrize(
    ("before", "after"), [((0, 4), (4, 4)), ((1, 4), (2, 4)), ((0, 1), (0, 1)), ((9, 40), (300, 800))]
)
def test_the_interval_of_independent_answers_is_that_of_two_betas(
    before: tuple[int, int], after: tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    x_N, y_N = (rng.beta(c + 0.5, n - c + 0.5, 400_000) for c, n in (before, after))
    agrees(independent(before, after), y_N - x_N, after[0] / after[1] - before[0] / before[1])


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(
    ("gained", "lost", "both", "neither"), [(0, 0, 0, 4), (1, 0, 2, 1), (4, 0, 0, 0), (2, 2, 3, 1), (3, 1, 30, 30)]
)
def test_best_of_k_from_pairs_is_the_same_dirichlet_carried_through(
    gained: int, lost: int, both: int, neither: int, k: int
) -> None:
    before = [WRONG] * gained + [RIGHT] * lost + [RIGHT] * both + [WRONG] * neither
    after = [RIGHT] * gained + [WRONG] * lost + [RIGHT] * both + [WRONG] * neither
    counts_4 = np.array([gained, lost, both, neither]) + 0.5
    gain_N, lose_N, both_N, _ = np.random.default_rng(0).dirichlet(counts_4, 400_000).T
    rise_N = (1 - both_N - lose_N) ** k - (1 - both_N - gain_N) ** k
    found = known(paired(before, after, best_of=k))
    assert found.stderr == pytest.approx(rise_N.std(), rel=0.02)
    ends = np.quantile(rise_N, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.03 * (ends[1] - ends[0]))


@pytest.mark.parametrize("k", [2, 4])
def test_best_of_k_from_independent_answers_is_two_betas_carried_through(k: int) -> None:
    rng = np.random.default_rng(0)
    x_N, y_N = (rng.beta(c + 0.5, n - c + 0.5, 400_000) for c, n in ((1, 4), (6, 8)))
    rise_N = (1 - x_N) ** k - (1 - y_N) ** k
    found = independent((1, 4), (6, 8), k)
    assert found.stderr == pytest.approx(rise_N.std(), rel=0.01)
    ends = np.quantile(rise_N, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.02 * (ends[1] - ends[0]))


def agrees(found: ProgressUncertainty, difference_N: np.ndarray, progress: float) -> None:
    """Draws have the same spread and ends; the interval is widened to hold the progress itself."""
    assert found.stderr == pytest.approx(difference_N.std(), rel=0.01)
    low, high = np.quantile(difference_N, [0.025, 0.975])
    assert found.low == pytest.approx(min(low, progress), abs=0.02 * (high - low))
    assert found.high == pytest.approx(max(high, progress), abs=0.02 * (high - low))
