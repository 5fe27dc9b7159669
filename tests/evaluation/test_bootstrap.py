from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.evaluation import bootstrap
from mrt_reward.evaluation.bootstrap import (
    estimate,
    estimates,
    interval,
    mean_of_known,
    resample_counts,
    resampled_means,
)


def test_resamples_draw_as_many_problems_as_there_are() -> None:
    count = resample_counts(7, num_resamples=50, seed=3)
    assert (count.sum(axis=1) == 7).all()
    assert (count == resample_counts(7, num_resamples=50, seed=3)).all()
    with pytest.raises(ValueError, match="at least one problem"):
        resample_counts(0)


def test_means_over_resamples_worked_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    value = np.array([[1.0, np.nan], [3.0, 2.0]])
    count = np.array([[2, 0], [1, 1], [0, 2]], np.int32)
    # The second quantity is known of the second problem alone, so the first resample does not have it.
    expected = np.array([[1.0, np.nan], [2.0, 2.0], [3.0, 2.0]])
    np.testing.assert_allclose(resampled_means(value, count), expected, atol=1e-12)
    assert mean_of_known(value) == pytest.approx([2.0, 2.0])
    monkeypatch.setattr(bootstrap, "_MAX_CELLS", 2)  # one resample at a time
    np.testing.assert_allclose(resampled_means(value, count), expected, atol=1e-12)


def test_the_interval_is_the_known_one_of_a_large_sample() -> None:
    # 400 problems, half of them right: the standard error is 1/40, and 1.96 of it 0.049.
    value = np.repeat([0.0, 1.0], 200)[:, None]
    [reported] = estimates(value, np.full(400, 8), resample_counts(400))
    assert reported.value == 0.5
    assert reported.low == pytest.approx(0.5 - 0.049, abs=0.005)
    assert reported.high == pytest.approx(0.5 + 0.049, abs=0.005)
    assert (reported.problems, reported.traces) == (400, 3200)


def test_differences_are_paired() -> None:
    # The second model is better by exactly 0.1 on problems that differ a lot: the difference has no spread.
    first = np.linspace(0.0, 0.9, 30)
    both = np.stack([first, first + 0.1], axis=1)
    mean = resampled_means(both, resample_counts(30))
    low, high = interval((mean[:, 1] - mean[:, 0])[:, None])
    assert (low[0], high[0]) == pytest.approx((0.1, 0.1))
    assert np.ptp(mean[:, 0]) > 0.1


def test_one_problem_has_no_interval_and_none_has_no_mean() -> None:
    one, none = estimates(np.array([[0.5, np.nan]]), np.array([4]), resample_counts(1))
    assert (one.value, one.low, one.high, one.problems, one.traces) == (0.5, None, None, 1, 4)
    assert (none.value, none.low, none.high, none.problems, none.traces) == (None, None, None, 0, 0)


def test_what_is_never_reached_has_an_open_interval() -> None:
    reported = estimate(30.0, np.array([10.0] * 50 + [np.inf] * 50), problems=5, traces=5)
    assert (reported.value, reported.low, reported.high) == (30.0, 10.0, None)
    assert np.isnan(interval(np.full((3, 2), np.nan))[0]).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        value = rng.beta(2, 1, size=(60, 1))
        [reported] = estimates(value, np.ones(60, np.int64), resample_counts(60, num_resamples=400, seed=1))
        assert reported.low is not None
        assert reported.high is not None
        covered += reported.low <= 2 / 3 <= reported.high
    # 95 % of 200 is 190, give or take 3.1; percentile intervals fall a little short.
    assert 180 <= covered <= 200
