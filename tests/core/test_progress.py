from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.progress import progress_rewards, progress_stderr, waste_mask, with_progress
from mrt_reward.core.scores import mean_score_value
from mrt_reward.core.values import rollout_value
from mrt_reward.types import Episode, Value, Verdict

rates = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_an_episode_earns_the_rise_in_success_rate() -> None:
    # J(x) = 1/4, then 3/4 after the key idea, then 2/4 after a wrong turn.
    assert progress_rewards(np.array([0.25, 0.75, 0.5])) == pytest.approx([0.5, -0.25])


@given(rates)
def test_progress_telescopes(values: list[float]) -> None:
    value_P = np.array(values)
    assert progress_rewards(value_P).sum() == pytest.approx(value_P[-1] - value_P[0], abs=1e-12)


def test_a_missing_value_makes_both_neighbours_missing() -> None:
    assert np.isnan(progress_rewards(np.array([0.1, np.nan, 0.3, 0.4]))).tolist() == [True, True, False]


def test_standard_errors_add_in_squares() -> None:
    assert progress_stderr(np.array([0.3, 0.4, 0.0])) == pytest.approx([0.5, 0.4])


@pytest.mark.parametrize("function", [progress_rewards, progress_stderr])
@pytest.mark.parametrize("wrong", [np.zeros(0), np.zeros((2, 2))])
def test_shapes_are_checked(function: object, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="shape"):
        function(wrong)  # type: ignore[operator]


def test_waste_is_little_progress_and_never_unmeasured() -> None:
    progress_K = np.array([0.0, 0.01, -0.01, 0.02, np.nan])
    assert waste_mask(progress_K, 0.02).tolist() == [True, True, True, False, False]
    assert waste_mask(progress_K, 0.0).tolist() == [True, False, False, False, False]


def test_episodes_get_their_progress() -> None:
    episodes = [Episode(0, 1, 0, 1), Episode(1, 2, 1, 2)]
    values = [Value(0.25, 0.3, 0, 1), Value(0.75, 0.4, 0, 1), Value(None, None, None, None)]
    first, second = with_progress(episodes, values)
    assert (first.progress, first.stderr) == (0.5, pytest.approx(0.5))
    assert (second.progress, second.stderr) == (None, None)
    with pytest.raises(ValueError, match="need 3 values"):
        with_progress(episodes, values[:2])


def rate(*verdicts: Verdict, coupled: bool) -> Value:
    value = rollout_value(verdicts)
    return replace(value, verdicts=verdicts) if coupled else value


def test_coupled_answers_are_surer_of_progress_than_independent_ones() -> None:
    right, wrong = Verdict.CORRECT, Verdict.INCORRECT
    before, after = (right, wrong, right, wrong, right, wrong), (right, right, right, wrong, right, wrong)
    [paired], [apart] = (
        with_progress([Episode(0, 1, 0, 1)], [rate(*before, coupled=coupled), rate(*after, coupled=coupled)])
        for coupled in (True, False)
    )
    assert paired.progress == apart.progress == pytest.approx(1 / 6)
    assert paired.stderr is not None
    assert apart.stderr is not None
    assert paired.stderr < apart.stderr
    for episode in (paired, apart):
        assert episode.low is not None
        assert episode.high is not None
        assert -1 <= episode.low < 1 / 6 < episode.high <= 1


def test_likelihoods_have_no_width_and_best_of_k_an_interval_of_its_own() -> None:
    [exact] = with_progress([Episode(0, 1, 0, 1)], [Value(0.25, 0.0, 0.25, 0.25), Value(0.5, 0.0, 0.5, 0.5)])
    assert (exact.stderr, exact.low, exact.high) == (0, 0.25, 0.25)
    right, wrong = Verdict.CORRECT, Verdict.INCORRECT
    before, after = (right, wrong, wrong, wrong), (right, right, wrong, wrong)
    for coupled in (True, False):
        best = [rollout_value(each, best_of=2) for each in (before, after)]
        if coupled:
            best = [replace(value, verdicts=each) for value, each in zip(best, (before, after), strict=True)]
        [other] = with_progress([Episode(0, 1, 0, 1)], best, best_of=2)
        # 1 - C(3, 2)/C(4, 2) = 1/2, then 1 - C(2, 2)/C(4, 2) = 5/6.
        assert other.progress == pytest.approx(1 / 3)
        assert other.low is not None
        assert other.high is not None
        assert -1 < other.low < 1 / 3 < other.high < 1
    # Values that are no rates, of an unknown k, have an error alone.
    [unknown] = with_progress([Episode(0, 1, 0, 1)], [rollout_value(each, best_of=2) for each in (before, after)])
    assert (unknown.low, unknown.high) == (None, None)
    # What a caller gave with an error alone has no interval.
    [given] = with_progress([Episode(0, 1, 0, 1)], [Value(0.25, 0.3, 0, 1), Value(0.5, 0.4, 0, 1)])
    assert (given.stderr, given.low, given.high) == (0.5, None, None)


def test_scores_are_compared_in_pairs_where_answers_are_coupled() -> None:
    before, after = [0.1, 0.5, 0.9, 0.3], [0.2, 0.6, 1.0, 0.4]
    values = [mean_score_value(each) for each in (before, after)]
    verdicts = (Verdict.INCORRECT, Verdict.CORRECT, Verdict.CORRECT, Verdict.INCORRECT)
    [apart] = with_progress([Episode(0, 1, 0, 1)], values)
    [together] = with_progress([Episode(0, 1, 0, 1)], [replace(value, verdicts=verdicts) for value in values])
    assert apart.progress == together.progress == pytest.approx(0.1)
    for episode in (apart, together):
        assert episode.low is not None
        assert episode.high is not None
        assert episode.low < 0.1 < episode.high
    assert together.stderr is not None
    assert apart.stderr is not None
    assert together.stderr < apart.stderr


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("coupled", [True, False])
def test_intervals_of_progress_hold_the_truth(k: int, coupled: bool) -> None:
    rng = np.random.default_rng(k)
    hits: list[bool] = []
    for index, num in product(range(150), (4, 8, 16)):
        before, after = rng.random(2)
        # Of two episodes, one changes nothing.
        after = before if index % 2 else after
        noise_2M = rng.random((2, num))[[0, 0 if coupled else 1]]
        verdicts = [
            tuple(Verdict.CORRECT if noise < p else Verdict.INCORRECT for noise in noise_M)
            for p, noise_M in zip((before, after), noise_2M, strict=True)
        ]
        values = [rollout_value(each, best_of=k) for each in verdicts]
        if coupled:
            values = [replace(value, verdicts=each) for value, each in zip(values, verdicts, strict=True)]
        [episode] = with_progress([Episode(0, 1, 0, 1)], values, best_of=k)
        assert episode.low is not None
        assert episode.high is not None
        hits.append(episode.low - 1e-9 <= (1 - before) ** k - (1 - after) ** k <= episode.high + 1e-9)
    assert np.mean(hits) >= 0.93


def test_where_no_pair_was_graded_the_answers_of_each_prefix_still_tell() -> None:
    before, after = (Verdict.CORRECT, Verdict.UNGRADED), (Verdict.UNGRADED, Verdict.INCORRECT)
    [episode] = with_progress([Episode(0, 1, 0, 1)], [rate(*before, coupled=True), rate(*after, coupled=True)])
    [apart] = with_progress([Episode(0, 1, 0, 1)], [rate(*before, coupled=False), rate(*after, coupled=False)])
    assert (episode.progress, episode.low, episode.high) == (-1, apart.low, apart.high)
    scores = [mean_score_value([0.5, None]), mean_score_value([None, 0.75])]
    [scored] = with_progress([Episode(0, 1, 0, 1)], [replace(each, verdicts=before) for each in scores])
    assert scored.progress == 0.25
    assert scored.low is not None


def test_an_interval_holds_its_progress_also_where_an_answer_was_not_graded() -> None:
    # J rises from 1/2 to 1, but the two pairs that are left are right before and after.
    before = (Verdict.CORRECT, Verdict.CORRECT, Verdict.INCORRECT, Verdict.INCORRECT) * 100
    after = (Verdict.CORRECT, Verdict.CORRECT, Verdict.UNGRADED, Verdict.UNGRADED) * 100
    [episode] = with_progress([Episode(0, 1, 0, 1)], [rate(*before, coupled=True), rate(*after, coupled=True)])
    assert (episode.progress, episode.high) == (0.5, 0.5)
    assert episode.low is not None
    assert episode.low < 0
