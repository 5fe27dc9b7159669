"""OpenRLHF's own experience maker, with progress added, beside itself without."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from mrt_openrlhf import advantages
from mrt_openrlhf.payload import KEY
from mrt_openrlhf.setup import Setup
from openrlhf.trainer.ppo_utils import experience_maker

from mrt_reward.core.credit import credit, outcome_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ConfigError, ProverError, TraceError
from mrt_reward.training.records import Lapse, Prefixed, Scored
from tests.openrlhf.batches import (
    LENGTHS,
    METHOD,
    OUTCOMES,
    SAMPLES,
    WHATS,
    arguments,
    experiences,
    maker,
    responses,
    tokens_of,
)

ADDED_TO = ("reinforce", "rloo", "reinforce_baseline", "group_norm", "dr_grpo", "flash_reinforce")
Batch = list[Any]


@pytest.fixture(autouse=True)
def _extended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experience_maker.RemoteExperienceMaker, "compute_advantages_and_returns", METHOD)
    advantages.extend_experience_maker(experience_maker)
    advantages.extend_experience_maker(experience_maker)


@pytest.fixture
def pay(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls the extended method with these settings; gives the batch and the metrics."""

    def paid(args: Any, batch: Batch, **given: Any) -> tuple[Batch, dict[str, float]]:
        for name, value in Setup(given, max_response_tokens=16).to_environment().items():
            monkeypatch.setenv(name, value)
        ours = maker(args)
        done = ours.compute_advantages_and_returns(batch)
        return done, ours.mrt_metrics

    return paid


def theirs(args: Any, answered: Sequence[dict[str, Any]] | None = None) -> Batch:
    """The same batch by OpenRLHF alone."""
    batch = experiences(args, answered)
    for each in batch:
        each.info.pop(KEY)
    return METHOD(maker(args), batch)


def core_adds(config: CreditConfig) -> list[np.ndarray[Any, Any]]:
    """What progress adds to each token, straight from core's credit."""
    added: list[np.ndarray[Any, Any]] = []
    for first in range(0, len(WHATS), SAMPLES):
        whats = WHATS[first : first + SAMPLES]
        values = [what.value_P if isinstance(what, Scored) else None for what in whats]
        paid = credit(OUTCOMES[first : first + len(whats)], values, config)
        for what, length, each in zip(whats, LENGTHS[first:], paid, strict=False):
            assert each.outcome_advantage is not None
            wanted = np.zeros(length)
            if isinstance(what, Scored):
                for span, value in zip(what.spans, each.episode_advantage_K, strict=True):
                    wanted[span.start : span.end] = value - each.outcome_advantage
                if not what.cut_off:
                    wanted[what.ends[-1] :] = each.answer_advantage - each.outcome_advantage
            added.append(wanted)
    return added


@pytest.mark.parametrize("estimator", [*ADDED_TO, "gae"])
def test_without_progress_every_estimator_is_openrlhfs_own(estimator: str, pay: Any) -> None:
    args = arguments(estimator)
    ours, _ = pay(args, experiences(args), alpha=0.0, credit="to_go")
    for name in ("advantages", "returns"):
        for got, wanted in zip(tokens_of(ours, name), tokens_of(theirs(args), name), strict=True):
            assert got == pytest.approx(wanted, abs=1e-6, rel=0)


@pytest.mark.parametrize("estimator", ADDED_TO)
@pytest.mark.parametrize(
    "more", [{}, {"credit": "to_go", "gamma": 0.5, "baseline": "group_index", "answer_progress": "add"}]
)
def test_with_progress_the_difference_is_alpha_times_cores(estimator: str, more: dict[str, Any], pay: Any) -> None:
    args = arguments(estimator)
    ours, metrics = pay(args, experiences(args), alpha=0.5, **more)
    half, whole = core_adds(CreditConfig(alpha=0.5, **more)), core_adds(CreditConfig(alpha=1.0, **more))
    for name in ("advantages", "returns"):
        rows = zip(tokens_of(ours, name), tokens_of(theirs(args), name), half, whole, strict=True)
        for got, without, wanted, one in rows:
            assert got - without == pytest.approx(wanted, abs=2e-6, rel=0)
            assert got - without == pytest.approx(0.5 * one, abs=2e-6, rel=0)
    assert any(np.abs(wanted).max() > 0.1 for wanted in half)
    assert metrics["mrt/traces/scored"] == 4
    assert metrics["mrt/failed/timeout"] == 1
    assert metrics["mrt/prover/overhead_s"] == pytest.approx(0.75, abs=1e-3)
    assert metrics["mrt/prover/probes"] == 18
    assert all(KEY not in each.info for each in ours)
    assert all(each.info["theirs"].shape == (len(each.sequences),) for each in ours)


def test_gae_sums_progress_up_itself(pay: Any) -> None:
    # With gamma = lambda = 1 the return at t is all reward from t on, so what is added is what is to go from there:
    # J[K] - J[j], and r - J[K] for the answer.
    args = arguments("gae", no_std_norm=True)
    ours, _ = pay(args, experiences(args), alpha=0.5, credit="to_go", answer_progress="add")
    wanted = core_adds(CreditConfig(alpha=0.5, credit="to_go", answer_progress="add"))
    for row, (got, without, add) in enumerate(
        zip(tokens_of(ours, "returns"), tokens_of(theirs(args), "returns"), wanted, strict=True)
    ):
        what = WHATS[row]
        # Before the first episode everything is to go; core pays what stands there its outcome alone.
        first = what.start if isinstance(what, Scored) else 0
        assert (got - without)[first:] == pytest.approx(add[first:], abs=1e-5)


def test_gae_that_calls_for_rewards_in_another_way_is_reported(pay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original: Any = experience_maker.compute_reward
    args = arguments("gae")
    monkeypatch.setattr(experience_maker, "compute_reward", lambda *a, **k: original(*a, **k)[:, :-1])
    with pytest.raises(ConfigError, match="once for each of 2 experiences, in order, with rewards of tokens of shape"):
        pay(args, experiences(args), credit="to_go")
    monkeypatch.setattr(experience_maker, "compute_reward", original)
    method = "compute_advantages_and_returns"

    def one_by_one(self: Any, batch: Batch) -> None:
        experience_maker.compute_reward(
            batch[0].rewards[:1], 0.0, batch[0].kl[:1], action_mask=batch[0].action_mask[:1]
        )

    monkeypatch.setattr(experience_maker.RemoteExperienceMaker, method, one_by_one)
    advantages.extend_experience_maker(experience_maker)
    with pytest.raises(ConfigError, match=r"with outcomes of shape \(4,\), got \(1,\)"):
        pay(args, experiences(args), credit="to_go")
    monkeypatch.setattr(experience_maker.RemoteExperienceMaker, method, lambda *_: _[1])
    advantages.extend_experience_maker(experience_maker)
    with pytest.raises(ConfigError, match="expected OpenRLHF's compute_advantages_and_returns to fill"):
        pay(args, experiences(args), credit="to_go")


@pytest.mark.parametrize("estimator", [*ADDED_TO, "gae"])
def test_a_dropped_trace_is_not_trained_on_and_moves_no_mean(estimator: str, pay: Any) -> None:
    args = arguments(estimator)
    ours, _ = pay(args, experiences(args), alpha=0.0, credit="to_go", on_failure="drop")
    lost = WHATS.index(Lapse.TIMEOUT)
    others = [row for row in range(len(WHATS)) if row != lost]
    moved = copy.deepcopy(OUTCOMES)
    moved[lost] = 7.0
    again, _ = pay(args, experiences(args, responses(outcomes=moved)), alpha=0.0, credit="to_go", on_failure="drop")
    for row in others:
        assert tokens_of(again, "advantages")[row] == pytest.approx(tokens_of(ours, "advantages")[row], abs=1e-6)
    assert not np.any(tokens_of(ours, "advantages")[lost])
    wanted = tokens_of(experiences(args), "values")[lost] if estimator == "gae" else np.zeros(LENGTHS[lost])
    assert tokens_of(ours, "returns")[lost] == pytest.approx(wanted)
    assert [int(each.action_mask.sum()) for each in ours] == [int(each.action_mask.sum()) for each in experiences(args)]
    if estimator == "dr_grpo":
        # 0 and 1 are left of the second group, whose mean is then 1/2.
        kl = tokens_of(theirs(args), "advantages")
        whole_mean = sum(OUTCOMES[3:]) / 3
        for row in (3, 5):
            assert tokens_of(ours, "advantages")[row] == pytest.approx(kl[row] + whole_mean - 0.5, abs=1e-6)


@pytest.mark.parametrize("estimator", ["rloo", "group_norm"])
def test_the_factor_of_a_group_is_that_of_what_is_left_of_it(estimator: str, pay: Any) -> None:
    # Of the second group 0 and 1 are left; of a third nobody but a 1, and of a fourth nobody.
    whats: list[Any] = [*WHATS, *[Lapse.TIMEOUT] * 2, Lapse.NO_THINKING, *[Lapse.TIMEOUT] * 3]
    outcomes = [*OUTCOMES, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    answered = responses(whats=whats, lengths=[*LENGTHS, 4, 5, 6, 4, 5, 6], outcomes=outcomes)
    args = arguments(estimator)
    given = {"alpha": 0.0, "on_failure": "drop", "max_failed_share": 1.0}
    ours, _ = pay(args, experiences(args, answered), **given)
    got = tokens_of(ours, "advantages")
    penalties = tokens_of(theirs(arguments("reinforce", no_std_norm=True), answered), "returns")
    # The first group is whole: 1, 0 and 1/2, whose others' means are 1/4, 3/4 and 1/2, and whose deviation is 1/2.
    # Of 0 and 1, each is compared with the other; their mean is 1/2, and their deviation 1/sqrt(2).
    wanted = {"rloo": [0.75, -0.75, 0.0, -1.0, 1.0], "group_norm": [1.0, -1.0, 0.0, -(0.5**0.5), 0.5**0.5]}[estimator]
    for row, outcome in zip([0, 1, 2, 3, 5, 8], [*wanted, 0.0], strict=True):
        # What KL costs from each token on, which `reinforce` without normalising adds to the outcome itself.
        penalty = penalties[row] - outcomes[row]
        assert got[row] == pytest.approx(outcome + penalty, abs=1e-6)
    assert not any(np.any(got[row]) for row in (4, 6, 7, 9, 10, 11))


def test_failures_stop_the_run_where_they_may_not_be(pay: Any) -> None:
    args = arguments()
    with pytest.raises(ProverError, match=r"1 of 6 traces .*1 timeout.*--mrt\.on_failure=abort"):
        pay(args, experiences(args), on_failure="abort")
    lost = responses(whats=[Lapse.UNREACHABLE] * 4 + list(WHATS[:2]), lengths=[9, 7, 5, 10, 9, 7])
    with pytest.raises(ProverError, match=r"4 of 6 traces .*4 unreachable"):
        pay(args, experiences(args, lost))


def test_a_masked_trace_keeps_its_outcome(pay: Any) -> None:
    args = arguments()
    ours, _ = pay(args, experiences(args), alpha=1.0)
    lost = WHATS.index(Lapse.TIMEOUT)
    assert tokens_of(ours, "advantages")[lost] == pytest.approx(tokens_of(theirs(args), "advantages")[lost])


@pytest.mark.parametrize("estimator", ["group_norm", "dr_grpo"])
@pytest.mark.parametrize("baseline", ["none", "termination"])
def test_rows_of_prefixes_are_normalised_by_their_own_groups(estimator: str, baseline: str, pay: Any) -> None:
    # Groups across prompts: rows 0, 1, 3 and rows 2, 4, 5; rows 1 and 4 had to stop, and are trained from token 2 on.
    groups, stops = [10, 10, 2**27 + 3, 10, 2**27 + 3, 2**27 + 3], [1, 4]
    whats = [Prefixed(g, 0.25, row in stops, 2 if row in stops else 0) for row, g in enumerate(groups)]
    args = arguments(estimator)
    ours, metrics = pay(args, experiences(args, responses(whats=whats)), mode="prefix", baseline=baseline)
    config = CreditConfig(scale_by_std=estimator == "group_norm", epsilon=1e-9, singleton="zero")
    for group in set(groups):
        rows = [row for row, each in enumerate(groups) if each == group]
        outcome_G = np.array([OUTCOMES[row] for row in rows])
        paid = outcome_G - 0.25 if baseline == "termination" else outcome_advantages(outcome_G, config)
        for row, value in zip(rows, paid, strict=True):
            wanted = np.full(LENGTHS[row], value)
            wanted[: 2 if row in stops else 0] = 0.0
            for name in ("advantages", "returns"):
                assert tokens_of(ours, name)[row] == pytest.approx(wanted, abs=1e-6)
    assert (metrics["mrt/prefix/stop/rows"], metrics["mrt/prefix/continue/rows"]) == (2, 4)


def test_what_moved_in_openrlhf_is_reported(pay: Any) -> None:
    args = arguments()
    missing = responses()
    del missing[1]["extra_logs"][KEY]
    with pytest.raises(ConfigError, match=r"expected one row of progress per sample, \(4, …\).*got shape \(3, "):
        pay(args, experiences(args, missing))
    for each in missing:
        each["extra_logs"].pop(KEY, None)
    with pytest.raises(ConfigError, match="got nothing"):
        pay(args, experiences(args, missing))
    zeros = responses()
    zeros[2]["extra_logs"][KEY] = [0.0] * 8
    with pytest.raises(ConfigError, match="sample 2 brought no record"):
        pay(args, experiences(args, zeros))
    cut = experiences(args)
    cut[0].action_mask[0, -1] = cut[0].action_mask[0].max()
    cut[0].action_mask[0, :6] = False
    with pytest.raises(ConfigError, match="sample 0 was scored as 9 tokens, and its action mask has"):
        pay(args, cut)
    renumbered = experiences(args)
    renumbered[0].index[0] = 99
    with pytest.raises(ConfigError, match="indices 0 to 5 once each"):
        pay(args, renumbered)
    fewer = experiences(args)
    fewer[0].index.pop()
    with pytest.raises(ConfigError, match="experiences have changed"):
        pay(args, fewer)


def test_a_reward_that_is_no_number_is_reported(pay: Any) -> None:
    args = arguments()
    with pytest.raises(TraceError, match="the reward of sample 1 is nan"):
        pay(args, experiences(args, responses(outcomes=[1.0, float("nan"), 0.0, 0.0, 1.0, 1.0])))


def test_rewards_in_a_column_of_their_own_are_taken_as_well(pay: Any) -> None:
    args = arguments()
    batch = experiences(args)
    for each in batch:
        each.rewards = each.rewards.unsqueeze(1)
    column, _ = pay(args, batch, alpha=1.0)
    flat, _ = pay(args, experiences(args), alpha=1.0)
    for got, wanted in zip(tokens_of(column, "advantages"), tokens_of(flat, "advantages"), strict=True):
        assert got == pytest.approx(wanted)


def test_half_precision_does_not_round_progress_away(pay: Any) -> None:
    args = arguments("dr_grpo")
    batch = experiences(args)
    for each in batch:
        each.kl = torch.zeros_like(each.kl).bfloat16()
    ours, _ = pay(args, batch, alpha=0.001)
    assert all(each.advantages.dtype == torch.float32 for each in ours)
