from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.credit import Credit, credit, outcome_advantages, returns, termination_advantage, token_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.types import Span

CONFIG = CreditConfig()


def _config(*, ending: bool, **given: Any) -> CreditConfig:
    return CreditConfig(**given, pay_ending=ending and given["credit"] == "immediate")


CONFIGS = st.builds(
    _config,
    ending=st.booleans(),
    alpha=st.floats(0, 5),
    credit=st.sampled_from(["immediate", "to_go"]),
    gamma=st.floats(0, 1),
    baseline=st.sampled_from(["none", "group", "group_index"]),
    answer_progress=st.sampled_from(["none", "add"]),
    progress_norm=st.sampled_from(["none", "group_std"]),
    scale_by_std=st.booleans(),
    singleton=st.sampled_from(["raw", "zero"]),
)


Traces = list[tuple[float | None, np.ndarray | None]]
"""Outcome and `value_P` of each trace of a group."""


def trace(outcome: float | None, *values: float) -> tuple[float | None, np.ndarray | None]:
    return outcome, np.array(values) if values else None


def credited(group: Traces, config: CreditConfig) -> tuple[Credit, ...]:
    return credit([outcome for outcome, _ in group], [value_P for _, value_P in group], config)


values = st.lists(st.floats(0, 1), min_size=1, max_size=6).map(np.array)
traces = st.tuples(st.sampled_from([0.0, 1.0, None]), st.none() | values)
groups = st.lists(traces, min_size=1, max_size=6)


def test_immediate_pays_each_episode_its_own_progress() -> None:
    # Outcomes 1 and 0: mean 1/2, standard deviation (ddof 1) √½, so advantages ±0.5/√½ = ±0.70711.
    right, wrong = credited([trace(1, 0.25, 0.5, 0.5, 1.0), trace(0, 0.25, 0.0)], CONFIG)
    assert right.outcome_advantage == pytest.approx(0.70711, abs=1e-5)
    assert right.episode_advantage_K == pytest.approx(np.array([0.25, 0.0, 0.5]) + 0.70711, abs=1e-5)
    assert wrong.episode_advantage_K == pytest.approx(np.array([-0.25]) - 0.70711, abs=1e-5)
    assert right.answer_advantage == right.outcome_advantage
    assert right.scored


def test_waste_between_two_gains_gets_the_outcome_advantage_exactly() -> None:
    [paid] = credited([trace(1, 0.25, 0.5, 0.5, 1.0)], CONFIG)
    assert paid.episode_advantage_K[1] == paid.outcome_advantage == 1.0


def test_to_go_pays_for_all_that_follows() -> None:
    # Progress 1/4, 0, 1/2; discounted by 1/2: 1/2, then 0 + 1/4, then 1/4 + 1/8.
    config = CreditConfig(credit="to_go", gamma=0.5, scale_by_std=False)
    [paid] = credited([trace(0, 0.25, 0.5, 0.5, 1.0)], config)
    assert paid.episode_advantage_K == pytest.approx([0.375, 0.25, 0.5])


def test_the_answers_own_progress() -> None:
    # J[K] = 3/4 and r = 1: the answer earns 1/4 more, and under to_go every episode does.
    add = CreditConfig(answer_progress="add", singleton="zero")
    [paid] = credited([trace(1, 0.25, 0.75)], add)
    assert (paid.answer_advantage, paid.episode_advantage_K[0]) == (0.25, 0.5)
    [paid] = credited([trace(1, 0.25, 0.75)], replace(add, credit="to_go"))
    assert (paid.answer_advantage, paid.episode_advantage_K[0]) == (0.25, 0.75)


def test_group_baseline_is_the_mean_of_each_traces_mean() -> None:
    # Progress [0.2, 0.4] and [0.6]: trace means 0.3 and 0.6, so b = 0.45 for all.
    config = CreditConfig(baseline="group", scale_by_std=False)
    first, second = credited([trace(1, 0.0, 0.2, 0.6), trace(1, 0.0, 0.6)], config)
    assert first.episode_advantage_K == pytest.approx([-0.25, -0.05])
    assert second.episode_advantage_K == pytest.approx([0.15])


def test_group_index_baseline_is_the_mean_of_the_others_at_that_index() -> None:
    # Progress [0.2, 0.4], [0.6] and [0.1, 0.3]. At index 0 the first one's others are 0.6 and 0.1; at index 1, 0.3.
    config = CreditConfig(baseline="group_index", scale_by_std=False)
    group = [trace(1, 0.0, 0.2, 0.6), trace(1, 0.0, 0.6), trace(1, 0.0, 0.1, 0.4)]
    first, second, _ = credited(group, config)
    assert first.episode_advantage_K == pytest.approx([0.2 - 0.35, 0.4 - 0.3])
    assert second.episode_advantage_K == pytest.approx([0.6 - 0.15])
    # Where no other trace has the episode, the group's mean stands in: trace means 0.3 and 0.6.
    first, _ = credited(group[:2], config)
    assert first.episode_advantage_K[1] == pytest.approx(0.4 - 0.45)


def test_progress_may_be_scaled_by_its_spread() -> None:
    # Progress 0.2 and 0.4 of one trace: standard deviation (ddof 1) is 0.2/√2.
    config = CreditConfig(progress_norm="group_std", singleton="zero", epsilon=0.0)
    [paid] = credited([trace(1, 0.0, 0.2, 0.6)], config)
    assert paid.episode_advantage_K == pytest.approx([np.sqrt(2), 2 * np.sqrt(2)])
    # No variance: nothing is divided. In the second, 0.1, 0.1 and 0.3 - 0.2 differ by rounding only.
    [rounded] = credited([trace(1, 0.0, 0.1, 0.2, 0.3)], config)
    assert rounded.episode_advantage_K == pytest.approx([0.1, 0.1, 0.1])
    [flat] = credited([trace(1, 0.0, 0.25, 0.5)], config)
    assert flat.episode_advantage_K == pytest.approx([0.25, 0.25])


def test_a_missing_value_leaves_its_trace_out_of_baselines() -> None:
    config = CreditConfig(baseline="group", scale_by_std=False)
    whole, partial = credited([trace(1, 0.0, 0.4), trace(1, 0.0, np.nan, 0.5, 0.9)], config)
    assert whole.episode_advantage_K == pytest.approx([0.0])
    assert not partial.scored
    # Missing, missing, and 0.4 - b with b from the whole trace only.
    assert partial.episode_advantage_K == pytest.approx([0.0, 0.0, 0.0])


def test_an_unscored_trace_is_trained_on_its_outcome_alone() -> None:
    _, unscored = credited([trace(1, 0.0, 1.0), trace(0)], CreditConfig(scale_by_std=False))
    assert (unscored.outcome_advantage, unscored.answer_advantage, unscored.scored) == (-0.5, -0.5, False)
    assert unscored.episode_advantage_K.size == 0


def test_a_trace_without_outcome_is_paid_nothing_and_counts_nowhere() -> None:
    known, unknown = credited([trace(1, 0.0, 0.5), trace(None, 0.0, 0.5)], CreditConfig(baseline="group"))
    assert unknown.outcome_advantage is None
    assert unknown.episode_advantage_K.tolist() == [0.0]
    assert known.outcome_advantage == 1.0
    assert token_advantages(unknown, [Span(0, 2)], 2, 3).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("singleton", "expected"), [("raw", 0.7), ("zero", 0.0)])
def test_a_group_of_one(singleton: str, expected: float) -> None:
    config = CreditConfig(singleton=singleton)  # type: ignore[arg-type]
    assert outcome_advantages(np.array([0.7]), config).tolist() == [expected]


def test_no_variance_is_no_advantage() -> None:
    assert outcome_advantages(np.array([0.1, 0.1, 0.1]), CreditConfig(epsilon=0.0)).tolist() == [0.0, 0.0, 0.0]
    assert outcome_advantages(np.array([np.nan]), CONFIG).size == 1


@given(groups, CONFIGS)
def test_alpha_zero_is_the_outcome_advantage_exactly(group: Traces, config: CreditConfig) -> None:
    for paid in credited(group, replace(config, alpha=0.0)):
        expected = 0.0 if paid.outcome_advantage is None else paid.outcome_advantage
        assert paid.episode_advantage_K.tolist() == [expected] * paid.episode_advantage_K.size
        assert not paid.ending_bonus_K.any()
        assert paid.answer_advantage == expected


@given(values, st.floats(0, 1))
def test_undiscounted_to_go_is_what_is_left_to_rise(value_P: np.ndarray, outcome: float) -> None:
    config = CreditConfig(credit="to_go")
    assert returns(value_P, outcome, config) == pytest.approx(value_P[-1] - value_P[:-1], abs=1e-12)
    config = CreditConfig(credit="to_go", answer_progress="add")
    assert returns(value_P, outcome, config) == pytest.approx(outcome - value_P[:-1], abs=1e-12)


@given(groups, CONFIGS, st.randoms())
def test_credit_does_not_depend_on_the_order_of_traces(group: Traces, config: CreditConfig, rng: object) -> None:
    order = list(range(len(group)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    paid = credited(group, config)
    for index, again in zip(order, credited([group[index] for index in order], config), strict=True):
        assert again.outcome_advantage == pytest.approx(paid[index].outcome_advantage)
        assert again.episode_advantage_K == pytest.approx(paid[index].episode_advantage_K, abs=1e-9)


@given(groups, CONFIGS)
def test_credit_is_always_finite(group: Traces, config: CreditConfig) -> None:
    for paid in credited(group, config):
        assert np.isfinite(paid.episode_advantage_K).all()
        assert np.isfinite(paid.ending_bonus_K).all()
        assert np.isfinite(paid.answer_advantage)


def test_tokens_get_their_episodes_credit() -> None:
    [paid] = credited([trace(1, 0.0, 0.25, 1.0)], CreditConfig(answer_progress="add"))
    # Opening delimiter, two episodes, closing delimiter and answer. J[K] = r, so the answer earns no more.
    spans = [Span(1, 3), Span(3, 4)]
    assert token_advantages(paid, spans, 4, 6).tolist() == [1.0, 1.25, 1.25, 1.75, 1.0, 1.0]


def test_the_token_that_ends_an_episode_is_paid_for_it_as_well() -> None:
    [paid] = credited([trace(1, 0.0, 0.25, 1.0)], CreditConfig(pay_ending=True, alpha=2.0))
    assert paid.ending_bonus_K.tolist() == [0.5, 1.5]
    # The second episode's first token ends the first one, and the closing delimiter ends the second.
    assert token_advantages(paid, [Span(1, 3), Span(3, 5)], 5, 7).tolist() == [1.0, 1.5, 1.5, 3.0, 2.5, 2.5, 1.0]
    # Nobody ended the last episode of a trace that was cut off.
    assert token_advantages(paid, [Span(1, 3), Span(3, 5)], 5, 5).tolist() == [1.0, 1.5, 1.5, 3.0, 2.5]
    [free] = credited([trace(1, 0.0, 0.25, 1.0)], CreditConfig(alpha=2.0))
    assert free.ending_bonus_K.tolist() == [0.0, 0.0]


def test_a_truncated_trace_has_no_answer_tokens() -> None:
    [paid] = credited([trace(0, 0.0, 0.5)], CreditConfig(answer_progress="add"))
    # r - J[K] = -1/2 would be the answer's, but no token is.
    assert paid.answer_advantage == -0.5
    assert token_advantages(paid, [Span(1, 3)], 3, 3).tolist() == [0.0, 0.5, 0.5]


def test_a_trace_without_thinking_is_paid_its_outcome() -> None:
    [paid] = credited([trace(1, 0.5)], CONFIG)
    assert paid.scored
    assert token_advantages(paid, [], 0, 2).tolist() == [1.0, 1.0]
    # Its one value may be missing: then nothing was scored.
    assert not credited([trace(1, np.nan)], CONFIG)[0].scored


@given(groups, CONFIGS, st.integers(1, 3))
def test_padding_rows_change_nobodys_credit(group: Traces, config: CreditConfig, num_rows: int) -> None:
    *paid, padding = credited([*group, *[trace(None)] * num_rows], config)[: len(group) + 1]
    assert (padding.outcome_advantage, padding.answer_advantage, padding.scored) == (None, 0.0, False)
    for before, after in zip(credited(group, config), paid, strict=True):
        assert (before.outcome_advantage, before.answer_advantage, before.scored) == (
            after.outcome_advantage,
            after.answer_advantage,
            after.scored,
        )
        assert before.episode_advantage_K.tolist() == after.episode_advantage_K.tolist()


@given(values, st.floats(0, 1))
def test_undiscounted_immediate_credit_telescopes(value_P: np.ndarray, outcome: float) -> None:
    config = CreditConfig(singleton="zero")
    [paid] = credited([(outcome, value_P)], config)
    assert paid.episode_advantage_K.sum() == pytest.approx(value_P[-1] - value_P[0], abs=1e-12)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("alpha", -1.0),
        ("alpha", float("nan")),
        ("gamma", 1.5),
        ("epsilon", -1e-6),
        ("credit", "togo"),
        ("baseline", "mean"),
        ("answer_progress", "yes"),
        ("progress_norm", "std"),
        ("singleton", "one"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(field: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be"):
        CreditConfig(**{field: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", [float("nan"), float("inf")])
def test_a_failed_reward_is_not_an_outcome(outcome: float) -> None:
    with pytest.raises(ValueError, match="None where it is not known"):
        credited([trace(1, 0.5), trace(outcome, 0.5)], CONFIG)


@pytest.mark.parametrize("wrong", [np.zeros(0), np.zeros((2, 2)), np.array([0.0, np.inf])])
def test_values_of_a_wrong_shape_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="value_P must have shape"):
        credited([trace(1, 0.5), (1.0, wrong)], CONFIG)


def test_a_group_has_as_many_values_as_outcomes() -> None:
    with pytest.raises(ValueError, match="got 1 for 2"):
        credit([1.0, 0.0], [None], CONFIG)


@pytest.mark.parametrize("spans", [[Span(2, 5), Span(0, 2)], [Span(0, 3), Span(2, 5)], [Span(3, 1), Span(3, 4)]])
def test_spans_that_overlap_or_run_backwards_are_refused(spans: list[Span]) -> None:
    [paid] = credited([trace(1, 0.0, 0.5, 1.0)], CONFIG)
    with pytest.raises(ValueError, match="in order"):
        token_advantages(paid, spans, 5, 6)


@pytest.mark.parametrize(("spans", "answer_start"), [([], 2), ([Span(0, 9)], 2), ([Span(0, 1)], 9)])
def test_spans_that_do_not_fit_are_refused(spans: list[Span], answer_start: int) -> None:
    [paid] = credited([trace(1, 0.0, 1.0)], CONFIG)
    with pytest.raises(ValueError, match="span"):
        token_advantages(paid, spans, answer_start, 3)


def test_a_row_from_a_prefix_is_compared_with_answering_there() -> None:
    assert termination_advantage(1.0, 0.75) == 0.25
    assert termination_advantage(0.0, 0.75) == -0.75
