from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.baselines import Extent
from mrt_reward.core.credit import Credit, credit, returns
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import progress_rewards
from mrt_reward.core.scale import ProgressScale
from mrt_reward.core.values import likelihood_value, rollout_value
from mrt_reward.types import ScoredTrace, Status, Value, Verdict

LOG = ProgressScale(progress="log", log_floor=1e-100)
# J of a long answer: each nat of its log-probability is a factor e.
J = np.exp([-90.0, -60.0, -60.0, -75.0, -20.0])

probabilities = st.one_of(st.floats(0, 1), st.floats(-800, 0).map(math.exp), st.just(0.0))
values = st.lists(probabilities, min_size=1, max_size=8).map(np.array)


def paid(*group: tuple[float, np.ndarray], **options: object) -> tuple[Credit, ...]:
    config = CreditConfig(scale_by_std=False, singleton="zero", **options)  # type: ignore[arg-type]
    return credit([outcome for outcome, _ in group], [value_P for _, value_P in group], config)


def test_an_episode_of_a_long_answer_earns_what_it_makes_it_likelier() -> None:
    # 30 nats by the key idea, nothing by a detour, 15 lost by a wrong turn, 55 by the correction.
    assert progress_rewards(LOG.levels(J)) == pytest.approx([30, 0, -15, 55])
    # Of J itself, there is nothing to see before the last episode, and little then.
    assert np.abs(progress_rewards(J)).max() < 1e-8
    [each] = paid((1.0, J), progress="log", alpha=0.01)
    assert each.episode_advantage_K == pytest.approx([0.3, 0, -0.15, 0.55])


@given(values)
def test_progress_of_log_telescopes_and_is_bounded_by_the_floor(value_P: np.ndarray) -> None:
    level_P = LOG.levels(value_P)
    progress_K = progress_rewards(level_P)
    assert progress_K.sum() == pytest.approx(level_P[-1] - level_P[0], abs=1e-9)
    assert abs(level_P[-1] - level_P[0]) <= 100 * math.log(10) + 1e-9
    assert np.isfinite(progress_K).all()


@given(values)
def test_progress_has_the_sign_of_the_rise_of_j_above_the_floor(value_P: np.ndarray) -> None:
    clipped_K = np.diff(np.maximum(value_P, 1e-100))
    progress_K = progress_rewards(LOG.levels(value_P))
    # Neighbouring doubles may share a logarithm, and never trade places.
    assert (progress_K * clipped_K >= 0).all()
    shown_K = np.abs(clipped_K) > 1e-12 * value_P[1:]
    assert (np.sign(progress_K) == np.sign(clipped_K))[shown_K].all()


@given(values, st.sampled_from(["none", "group", "group_index"]), st.sampled_from(["immediate", "to_go"]))
def test_alpha_zero_is_the_outcome_advantage_exactly(value_P: np.ndarray, baseline: str, kind: str) -> None:
    group = paid((1.0, value_P), (0.0, value_P[::-1].copy()), progress="log", alpha=0.0, baseline=baseline, credit=kind)
    for each in group:
        assert each.episode_advantage_K.tolist() == [each.outcome_advantage] * each.episode_advantage_K.size


@given(values)
def test_to_go_is_what_is_left_to_rise(value_P: np.ndarray) -> None:
    level_P = LOG.levels(value_P)
    config = CreditConfig(progress="log", credit="to_go")
    assert returns(level_P, 1.0, config) == pytest.approx(level_P[-1] - level_P[:-1], abs=1e-9)


def test_the_price_of_a_token_is_that_of_the_same_scale() -> None:
    # The other trace gains 30 nats over 10 tokens: 3 nats a token, of which the first one's 5 tokens cost 15.
    extents = [Extent(np.array([0.0, n]), cut_off=False) for n in (5.0, 10.0)]
    config = CreditConfig(progress="log", baseline="rate", scale_by_std=False)
    first, _ = credit([1.0, 1.0], [np.exp([-50.0, -40.0]), np.exp([-60.0, -30.0])], config, extents)
    assert first.episode_advantage_K == pytest.approx([10 - 15])


def test_a_value_below_the_floor_is_the_floor_and_a_missing_one_stays_missing() -> None:
    level_P = LOG.levels(np.array([0.0, 1e-200, 1e-100, np.nan, 1.0]))
    floor = math.log(1e-100)
    assert level_P[[0, 1, 2, 4]] == pytest.approx([floor, floor, floor, 0.0])
    assert np.isnan(level_P[3])
    # A trace with a missing value is paid for the episodes that are known.
    [each] = paid((1.0, np.array([1e-20, 1e-10, np.nan])), progress="log")
    assert each.episode_advantage_K == pytest.approx([10 * math.log(10), 0.0])
    assert not each.scored


def test_the_outcome_of_a_trace_that_was_cut_off_stays_a_probability() -> None:
    extent = Extent(None, cut_off=True)
    config = CreditConfig(progress="log", truncated="forced", singleton="raw")
    [each] = credit([0.0], [np.array([0.25, 0.5])], config, [extent])
    assert each.outcome_advantage == 0.5
    assert each.episode_advantage_K == pytest.approx([0.5 + math.log(2)])


def test_doubles_tell_apart_all_that_the_lowest_floor_does() -> None:
    # Below it log-probabilities underflow, through which nothing is lost that the floor keeps.
    scale = ProgressScale(progress="log", log_floor=1e-300)
    reported = [likelihood_value([logprob]).value for logprob in (-800.0, -690.0, -400.0)]
    assert reported[0] == 0
    sent = json.loads(json.dumps(reported))
    assert scale.levels(np.array(sent)) == pytest.approx([math.log(1e-300), -690.0, -400.0])
    with pytest.raises(ValueError, match="log_floor must be at least 1e-300 and below 1"):
        CreditConfig(log_floor=1e-310)


@given(st.lists(probabilities, min_size=1, max_size=8).map(np.array), st.sampled_from(["probability", "log"]))
def test_a_level_tells_its_value_and_its_share(value_P: np.ndarray, progress: str) -> None:
    scale = ProgressScale(progress=progress, log_floor=1e-30)  # type: ignore[arg-type]
    level_P = scale.levels(value_P)
    wanted = np.maximum(value_P, 1e-30) if progress == "log" else value_P
    assert scale.values(level_P) == pytest.approx(wanted, rel=1e-12)
    for level in level_P.tolist():
        assert -1e-12 <= scale.share(level) <= 1
        assert scale.level_at(scale.share(level)) == pytest.approx(level, abs=1e-9)


def test_values_of_sampled_answers_are_refused_by_log_alone() -> None:
    right, wrong = Verdict.CORRECT, Verdict.INCORRECT
    sampled = ScoredTrace("a", Status.OK, values=(rollout_value([wrong] * 4), rollout_value([right] * 4)))
    scores = ScoredTrace("b", Status.OK, values=(Value(0.5, 0.0, 0.5, 0.5), Value(0.5, 0.1, 0.3, 0.7)))
    exact = ScoredTrace("c", Status.OK, values=(likelihood_value([-40.0]), Value(0.3), Value(None)))
    for trace in (sampled, scores):
        with pytest.raises(ValueError, match="progress log needs values without sampling error, and those of trace '"):
            LOG.check_values([exact, trace])
    LOG.check_values([exact])
    ProgressScale().check_values([sampled, scores])


def test_r_minus_j_does_not_go_with_logarithms() -> None:
    with pytest.raises(ValueError, match=r"answer_progress add is r - J\[K\], which is no difference of logarithms"):
        CreditConfig(progress="log", answer_progress="add")
