from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from mrt_reward.core.credit import credit
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ProverError
from mrt_reward.training.advantages import (
    batch_advantages,
    check_failures,
    neutral_factors,
    neutral_outcomes,
    progress_advantages,
    progress_token_rewards,
)
from mrt_reward.training.records import Lapse, Record, Scored
from mrt_reward.training.settings import OnFailure


def scored(outcome: float, values: list[float], ends: tuple[int, ...], *, start: int = 1, version: int = 0) -> Record:
    return Record(Scored(start, ends, np.array(values), False, version), outcome=outcome, num_tokens=ends[-1] + 2)


def test_a_waste_episode_between_two_gains_gets_the_outcome_advantage_alone() -> None:
    # Outcomes 1 and 0: mean 1/2, standard deviation √½, so A_outcome = ±0.5/√½ = ±0.70711 without epsilon.
    group = [scored(1.0, [0.25, 0.5, 0.5, 1.0], (3, 5, 7)), Record(Lapse.NO_THINKING, outcome=0.0, num_tokens=4)]
    config = CreditConfig(epsilon=0.0)
    [first, second] = batch_advantages(group, ["g", "g"], config, "mask").advantage_NT
    a = 0.5 / np.sqrt(0.5)
    assert first == pytest.approx([a, a + 0.25, a + 0.25, a, a, a + 0.5, a + 0.5, a, a])
    assert second == pytest.approx([-a] * 4)


def test_a_batch_is_paid_group_by_group_as_core_pays() -> None:
    records = [
        scored(1.0, [0.2, 0.9], (4,)),
        scored(0.0, [0.5, 0.5, 0.1], (2, 5)),
        scored(1.0, [0.2, 0.4], (6,)),
        Record(Lapse.TIMEOUT, outcome=1.0, num_tokens=3),
    ]
    config = CreditConfig(baseline="group", credit="to_go", answer_progress="add")
    got = batch_advantages(records, ["a", "b", "a", "b"], config, "mask").advantage_NT
    for rows in ([0, 2], [1, 3]):
        outcomes = [records[row].outcome for row in rows]
        values = [None if (what := records[row].scored) is None else what.value_P for row in rows]
        for row, paid in zip(rows, credit(outcomes, values, config), strict=True):
            what = records[row].scored
            if what is None:
                assert got[row] == pytest.approx([paid.outcome_advantage] * 3)
                continue
            for span, advantage in zip(what.spans, paid.episode_advantage_K, strict=True):
                assert got[row][span.start : span.end] == pytest.approx(advantage)
            assert got[row][what.ends[-1] :] == pytest.approx(paid.answer_advantage)
            assert got[row][: what.start] == pytest.approx(paid.outcome_advantage)


def test_a_dropped_trace_is_paid_nothing_and_moves_no_baseline() -> None:
    records = [
        Record(None, outcome=1.0, num_tokens=2),
        Record(None, outcome=0.0, num_tokens=2),
        Record(Lapse.TIMEOUT, outcome=0.0, num_tokens=2),
    ]
    kept = batch_advantages(records[:2], ["g"] * 2, CreditConfig(), "drop").advantage_NT
    [first, second, third] = batch_advantages(records, ["g"] * 3, CreditConfig(), "drop").advantage_NT
    assert first == pytest.approx(kept[0])
    assert second == pytest.approx(kept[1])
    assert third == pytest.approx([0.0, 0.0])
    masked = batch_advantages(records, ["g"] * 3, CreditConfig(), "mask").advantage_NT
    assert masked[2][0] < 0


def test_a_trace_that_thinks_nothing_is_no_failure_and_is_not_dropped() -> None:
    records = [Record(Lapse.NO_THINKING, outcome=1.0, num_tokens=2), Record(None, outcome=0.0, num_tokens=2)]
    [first, _] = batch_advantages(records, ["g"] * 2, CreditConfig(), "drop").advantage_NT
    assert first[0] > 0
    check_failures(records, "abort", 0.0, "reward.mrt")


def test_a_group_of_two_provers_has_no_progress_baseline_and_is_counted() -> None:
    records = [scored(1.0, [0.0, 1.0], (4,), version=1), scored(1.0, [0.0, 0.5], (4,), version=2)]
    paid = batch_advantages(records, ["g"] * 2, CreditConfig(baseline="group"), "mask")
    assert paid.num_mixed == 1
    assert paid.advantage_NT[0][2] == pytest.approx(1.0)
    same = [records[0], scored(1.0, [0.0, 0.5], (4,), version=1)]
    paid = batch_advantages(same, ["g"] * 2, CreditConfig(baseline="group"), "mask")
    assert paid.num_mixed == 0
    assert paid.advantage_NT[0][2] == pytest.approx(0.25)


def test_an_outcome_that_is_no_number_is_not_trained_on() -> None:
    records = [
        Record(None, outcome=float("nan"), num_tokens=2),
        Record(None, outcome=1.0, num_tokens=2),
        Record(None, outcome=0.0, num_tokens=2),
    ]
    [first, second, _] = batch_advantages(records, ["g"] * 3, CreditConfig(), "mask").advantage_NT
    assert first == pytest.approx([0.0, 0.0])
    assert second[0] > 0


def test_a_trace_cut_off_while_thinking_has_no_answer() -> None:
    cut = Record(Scored(0, (3, 6), np.array([0.5, 0.5, 0.25]), cut_off=True), outcome=0.0, num_tokens=6)
    empty = Record(Scored(0, (), np.array([0.5]), cut_off=True), outcome=0.0, num_tokens=3)
    [first, second] = batch_advantages([cut, empty], ["g", "g"], CreditConfig(), "mask").advantage_NT
    assert first == pytest.approx([0, 0, 0, -0.25, -0.25, -0.25])
    assert second == pytest.approx([0, 0, 0])


def test_too_many_failures_stop_the_run_and_say_why() -> None:
    lost = [Record(lapse, outcome=0.0, num_tokens=2) for lapse in (Lapse.TIMEOUT, Lapse.TIMEOUT, Lapse.UNREACHABLE)]
    fine = [Record(None, outcome=0.0, num_tokens=2)] * 3
    check_failures([*lost, *fine], "mask", 0.5, "reward.mrt")
    with pytest.raises(ProverError, match=r"3 of 5 traces .* \(2 timeout, 1 unreachable\); at most 50% may fail"):
        check_failures([*lost, *fine[:2]], "mask", 0.5, "reward.mrt")
    with pytest.raises(ProverError, match=r"at most 0% may fail \(reward\.mrt\.on_failure=abort"):
        check_failures([*lost[:1], *fine], "abort", 0.5, "reward.mrt")


@pytest.mark.parametrize("on_failure", ["mask", "drop"])
def test_what_progress_adds_is_all_that_lies_between_outcome_and_whole(on_failure: OnFailure) -> None:
    records = [
        scored(1.0, [0.2, 0.9], (4,)),
        scored(0.0, [0.5, 0.5, 0.1], (2, 5)),
        Record(Lapse.TIMEOUT, outcome=1.0, num_tokens=3),
    ]
    config = CreditConfig(alpha=0.5, baseline="group", credit="to_go", answer_progress="add", progress_norm="group_std")
    whole = batch_advantages(records, ["g"] * 3, config, on_failure).advantage_NT
    outcome = batch_advantages(records, ["g"] * 3, replace(config, alpha=0.0), on_failure).advantage_NT
    added = progress_advantages(records, ["g"] * 3, config, on_failure).advantage_NT
    for a, b, c in zip(whole, outcome, added, strict=True):
        assert a == pytest.approx(b + c)
    assert not np.any(added[2])
    assert not np.any(progress_advantages(records, ["g"] * 3, replace(config, alpha=0.0), on_failure).advantage_NT[1])


def test_what_progress_adds_to_a_trace_worked_by_hand() -> None:
    # alpha 1/2, r_prg = 1/4 and -1/4 on tokens 1-2 and 3-4; the answer's r - J[K] = 1 - 1/2 on tokens 5 and 6.
    one = scored(1.0, [0.5, 0.75, 0.5], (3, 5))
    config = CreditConfig(alpha=0.5, answer_progress="add")
    [added] = progress_advantages([one], ["g"], config, "mask").advantage_NT
    assert added == pytest.approx([0.0, 0.125, 0.125, -0.125, -0.125, 0.25, 0.25])


@pytest.mark.parametrize("answer_progress", ["none", "add"])
def test_rewards_of_tokens_add_up_to_what_is_to_go(answer_progress: Literal["none", "add"]) -> None:
    one = scored(1.0, [0.25, 0.5, 0.25, 0.75], (3, 5, 8))
    config = CreditConfig(alpha=0.5, credit="to_go", answer_progress=answer_progress)
    reward_T = progress_token_rewards(one, config)
    [added] = progress_advantages([one], ["g"], config, "mask").advantage_NT
    to_go_T = np.cumsum(reward_T[::-1])[::-1]
    # Before the first episode everything is to go; core pays the opening delimiter its outcome alone.
    assert to_go_T[1:] == pytest.approx(added[1:])
    assert reward_T[[2, 4, 7]] == pytest.approx([0.125, -0.125, 0.25])
    assert not np.any(progress_token_rewards(Record(Lapse.TIMEOUT, outcome=1.0, num_tokens=3), config))


def test_rewards_of_tokens_may_be_those_of_log_j() -> None:
    one = scored(1.0, [1e-40, 1e-30, 1e-45, 1e-15], (3, 5, 8))
    config = CreditConfig(alpha=0.01, credit="to_go", progress="log")
    reward_T = progress_token_rewards(one, config)
    # 10 decades up, 15 down, 30 up.
    assert reward_T[[2, 4, 7]] == pytest.approx(0.01 * np.log(10) * np.array([10, -15, 30]))
    [added] = progress_advantages([one], ["g"], config, "mask").advantage_NT
    assert np.cumsum(reward_T[::-1])[::-1][1:] == pytest.approx(added[1:])


def test_a_dropped_outcome_moves_no_mean() -> None:
    outcome_N = np.array([1.0, 0.0, 7.0, 0.5, 9.0])
    neutral_N = neutral_outcomes(outcome_N, ["a", "a", "a", "b", "c"], [False, False, True, False, True])
    assert neutral_N == pytest.approx([1.0, 0.0, 0.5, 0.5, 0.0])
    assert neutral_N[:3].mean() == pytest.approx(outcome_N[:2].mean())


def test_with_neutral_factors_the_rows_that_are_left_are_compared_among_themselves() -> None:
    outcome_N, groups = np.array([1.0, 0.0, 7.0, 0.5, 9.0, 2.0]), list("aaaabb")
    dropped = [False, False, True, False, True, False]
    neutral_N = neutral_outcomes(outcome_N, groups, dropped)
    left_N = outcome_N[[0, 1, 3]]
    # Each against the mean of the others: n / (n - 1) times its distance from the mean of all.
    factor_N = np.array(neutral_factors(groups, dropped, "leave_one_out"))
    full_N = (neutral_N[:4] - neutral_N[:4].mean()) * 4 / 3 * factor_N[:4]
    expected = [r - (left_N.sum() - r) / 2 for r in left_N]
    assert full_N[[0, 1, 3]] == pytest.approx(expected)
    assert factor_N[4:].tolist() == [0.0, 0.0]  # one that is left alone
    factor_N = np.array(neutral_factors(groups, dropped, "std"))
    full_N = (neutral_N[:4] - neutral_N[:4].mean()) / neutral_N[:4].std(ddof=1) * factor_N[:4]
    assert full_N[[0, 1, 3]] == pytest.approx((left_N - left_N.mean()) / left_N.std(ddof=1))
    assert neutral_factors(groups, [False] * 6, "std") == [1.0] * 6
    assert neutral_factors(groups, [True] * 6, "leave_one_out") == [1.0] * 6


def cut_off(outcome: float, values: list[float], ends: tuple[int, ...]) -> Record:
    return Record(Scored(0, ends, np.array(values), cut_off=True), outcome=outcome, num_tokens=ends[-1])


CUT_OFF = [
    scored(1.0, [0.25, 1.0], (4,)),
    cut_off(0.0, [0.25, 0.5, 0.75], (3, 7)),
    scored(0.0, [0.25, 0.25], (5,)),
    Record(Lapse.TIMEOUT, outcome=0.0, num_tokens=3),
]


@pytest.mark.parametrize("truncated", ["masked", "forced"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_trainer_that_works_out_outcomes_by_itself_is_given_what_cut_off_traces_change(
    truncated: Literal["masked", "forced"], alpha: float
) -> None:
    config = CreditConfig(alpha=alpha, truncated=truncated, baseline="rate")
    theirs = batch_advantages(CUT_OFF, ["g"] * 4, replace(config, alpha=0.0, truncated="zero"), "mask").advantage_NT
    added = progress_advantages(CUT_OFF, ["g"] * 4, config, "mask").advantage_NT
    whole = batch_advantages(CUT_OFF, ["g"] * 4, config, "mask").advantage_NT
    for row, paid in enumerate(whole):
        assert theirs[row] + added[row] == pytest.approx(paid)
    if truncated == "masked":
        assert whole[1] == pytest.approx(np.zeros(7))
    else:
        # Rewards 1, 0.75, 0 and 0 instead of 1 and three zeros: what was cut off is above their mean, 0.4375.
        outcomes = batch_advantages(CUT_OFF, ["g"] * 4, replace(config, alpha=0.0), "mask").advantage_NT
        assert theirs[1].max() < 0 < outcomes[1].min()


def test_a_group_scored_by_two_provers_pays_no_price() -> None:
    mixed = [scored(1.0, [0.25, 1.0], (4,), version=1), scored(0.0, [0.25, 0.5], (4,), version=2)]
    config = CreditConfig(baseline="rate", charge_closing=True, scale_by_std=False)
    paid = batch_advantages(mixed, ["g"] * 2, config, "mask")
    assert paid.num_mixed == 1
    assert [row[1] for row in paid.advantage_NT] == pytest.approx([0.5 + 0.75, -0.5 + 0.25])


def test_a_policy_that_does_not_think_is_said_at_its_first_batch(caplog: pytest.LogCaptureFixture) -> None:
    unthinking = Record(Lapse.NO_THINKING, outcome=1.0, num_tokens=4)
    check_failures([unthinking] * 4, "mask", 0.5, "reward.mrt")
    [warned] = caplog.messages
    assert "none of the 4 traces of this batch thinks" in warned
    assert "reward.mrt.delimiters" in warned
    check_failures([unthinking] * 3 + [scored(1.0, [0.0, 1.0], (4,))], "mask", 0.5, "reward.mrt")
    check_failures([unthinking] * 3, "mask", 0.5, "reward.mrt")
    assert len(caplog.messages) == 1
