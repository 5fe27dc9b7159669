"""The estimator `mrt` on veRL's tensors, beside veRL's own GRPO."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mrt_verl import advantage, tracking
from mrt_verl.marks import encode, encode_prefixed
from omegaconf import OmegaConf
from verl.protocol import DataProto
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.ray_trainer import compute_advantage

from mrt_reward.core.credit import credit, outcome_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ProverError
from mrt_reward.training.records import Lapse, Prefixed, Scored, number_of

advantage.register()
WIDTH = 12


def config(*, norm: bool = True, **mrt: Any) -> Any:
    return OmegaConf.create({"norm_adv_by_std_in_grpo": norm, "mrt": {"regret_budget": WIDTH, **mrt}})


def batch() -> tuple[torch.Tensor, torch.Tensor, np.ndarray[Any, Any], list[Scored | Lapse | None]]:
    """Two groups of uneven size, a group of one, an unscored row, a lapse, and padding."""
    what: list[Scored | Lapse | None] = [
        Scored(1, (3, 6), np.array([0.25, 0.5, 0.5]), cut_off=False),
        Scored(0, (4,), np.array([0.5, 0.125]), cut_off=False),
        Lapse.NO_THINKING,
        Scored(0, (3, 10), np.array([0.5, 0.25, 1.0]), cut_off=True),
        None,
        Scored(2, (5,), np.array([0.0, 1.0]), cut_off=False),
        None,
    ]
    lengths, outcomes = [9, 7, 5, 10, 12, 8, 0], [1.0, 0.0, 0.5, 0.0, 1.0, 1.0, 0.0]
    uids = np.array(["a", "a", "a", "b", "b", "c", "pad0"], dtype=object)
    rewards, mask = torch.zeros(7, WIDTH), torch.zeros(7, WIDTH, dtype=torch.int64)
    for row, (length, outcome) in enumerate(zip(lengths, outcomes, strict=True)):
        if length:
            mask[row, :length] = 1
            rewards[row, length - 1] = outcome
    for row, each in enumerate(what):
        if each is not None:
            for index, value in encode(each, lengths[row]):
                rewards[row, index] += value
    return rewards, mask, uids, what


@pytest.mark.parametrize("norm", [True, False])
def test_without_progress_it_is_verls_own_grpo(norm: bool) -> None:
    rewards, mask, uids, _ = batch()
    plain = torch.zeros_like(rewards)
    for row in range(len(mask)):
        if length := int(mask[row].sum()):
            plain[row, length - 1] = rewards[row, length - 1]
    theirs, _ = core_algos.compute_grpo_outcome_advantage(plain, mask, uids, norm_adv_by_std_in_grpo=norm)
    ours, returns = advantage.mrt_advantage(rewards, mask, config(norm=norm, alpha=0.0), uids)
    assert ours.numpy() == pytest.approx(theirs.numpy(), abs=1e-6, rel=1e-6)
    assert returns is ours


@pytest.mark.parametrize("more", [{}, {"credit": "to_go", "baseline": "group_index", "answer_progress": "add"}])
def test_each_episodes_tokens_carry_what_core_gives(more: dict[str, Any]) -> None:
    rewards, mask, uids, what = batch()
    ours, _ = advantage.mrt_advantage(rewards, mask, config(alpha=0.5, **more), uids)
    for name in ("a", "b", "c"):
        rows = [row for row in range(len(uids)) if uids[row] == name]
        outcomes = [float(rewards[row, int(mask[row].sum()) - 1]) for row in rows]
        values = [each.value_P if isinstance(each := what[row], Scored) else None for row in rows]
        for row, paid in zip(rows, credit(outcomes, values, CreditConfig(alpha=0.5, **more)), strict=True):
            length, each = int(mask[row].sum()), what[row]
            wanted = np.full(length, paid.outcome_advantage)
            if isinstance(each, Scored):
                for span, value in zip(each.spans, paid.episode_advantage_K, strict=True):
                    wanted[span.start : span.end] = value
                if not each.cut_off:
                    wanted[each.ends[-1] :] = paid.answer_advantage
            assert ours[row, :length].numpy() == pytest.approx(wanted, abs=2e-6)
    assert not ours[mask == 0].any()


def rewards_of(rows: list[tuple[float, Scored | Lapse]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards and mask of full rows, as the agent loop leaves them."""
    rewards, mask = torch.zeros(len(rows), WIDTH), torch.ones(len(rows), WIDTH, dtype=torch.int64)
    for row, (outcome, what) in enumerate(rows):
        rewards[row, -1] = outcome
        for index, value in encode(what, WIDTH):
            rewards[row, index] += value
    return rewards, mask


def test_a_waste_episode_between_two_gains_gets_exactly_the_outcome_advantage() -> None:
    waste = Scored(1, (4, 6, 8), np.array([0.25, 0.5, 0.5, 1.0]), cut_off=False)
    rewards, mask = rewards_of([(1.0, waste), (0.0, Lapse.NO_THINKING)])
    ours, _ = advantage.mrt_advantage(rewards, mask, config(), ["g", "g"])
    outcome = float(ours[0, 0])
    assert ours[0, 4:6].tolist() == [outcome, outcome]
    assert ours[0, 1:4].numpy() == pytest.approx(outcome + 0.25, abs=1e-6)
    assert ours[0, 6:8].numpy() == pytest.approx(outcome + 0.5, abs=1e-6)


def test_a_group_scored_by_two_versions_has_no_progress_baseline_and_is_counted() -> None:
    def scored(gain: float, prover: str) -> Scored:
        return Scored(1, (6,), np.array([0.0, gain]), cut_off=False, version=number_of(prover))

    # Progress 1.0 and 0.5: their group's mean is 0.75, unless two provers have measured them.
    tracking.taken()
    rewards, mask = rewards_of([(1.0, scored(1.0, "m@a")), (1.0, scored(0.5, "m@a"))])
    ours, _ = advantage.mrt_advantage(rewards, mask, config(baseline="group"), ["g", "g"])
    assert ours[:, 3].numpy() == pytest.approx([0.25, -0.25], abs=1e-6)
    assert tracking.taken()["mrt/groups/mixed_versions"] == 0
    # Their checksums end in the same four bits: versions must not be taken for the same by chance.
    first, second = "m@0", next(f"m@{n}" for n in range(1, 10**6) if number_of(f"m@{n}") % 16 == number_of("m@0") % 16)
    rewards, mask = rewards_of([(1.0, scored(1.0, first)), (1.0, scored(0.5, second))])
    ours, _ = advantage.mrt_advantage(rewards, mask, config(baseline="group"), ["g", "g"])
    assert ours[:, 3].numpy() == pytest.approx([1.0, 0.5], abs=1e-6)
    assert tracking.taken()["mrt/groups/mixed_versions"] == 1


def test_verl_finds_it_by_name_and_metrics_are_noted() -> None:
    rewards, mask, uids, _ = batch()
    tracking.taken()
    data = DataProto.from_dict({"token_level_rewards": rewards, "response_mask": mask}, {"uid": uids})
    found = compute_advantage(data, adv_estimator="mrt", config=config())  # type: ignore[arg-type]
    assert torch.isfinite(found.batch["advantages"]).all()
    metrics = tracking.taken()
    assert metrics["mrt/traces/scored"] == 4
    assert metrics["mrt/outcome/mean"] == pytest.approx(3.5 / 6)
    assert tracking.taken() == {}


def test_a_tool_turn_within_a_response_keeps_its_mask() -> None:
    rewards, mask, uids, _ = batch()
    mask[0, 2] = 0
    ours, _ = advantage.mrt_advantage(rewards, mask, config(), uids)
    assert ours[0, 2] == 0
    assert ours[0, 1] != 0


def test_a_batch_of_padding_alone_gets_zeros() -> None:
    zeros = torch.zeros(2, 3)
    ours, _ = advantage.mrt_advantage(zeros, zeros.long(), config(), np.array(["pad", "pad"]))
    assert not ours.any()


def test_a_batch_without_progress_stops_the_run() -> None:
    rewards, mask, uids, _ = batch()
    rewards[:, :3] = 0
    for row in range(6):
        rewards[row, 0] = 2.0**-82
    with pytest.raises(ProverError, match="6 of 6 traces of this batch have no progress"):
        advantage.mrt_advantage(rewards, mask, config(), uids)


def test_counts_are_summed_and_means_are_averaged_over_the_batches_of_a_step() -> None:
    tracking.taken()
    tracking.note({"mrt/traces/scored": 3.0, "mrt/failed/share": 0.5, "mrt/progress/mean": 0.1})
    tracking.note({"mrt/traces/scored": 1.0, "mrt/failed/share": 0.0, "mrt/progress/mean": 0.3})
    assert tracking.taken() == pytest.approx(
        {"mrt/traces/scored": 4.0, "mrt/failed/share": 0.25, "mrt/progress/mean": 0.2}
    )


@pytest.mark.parametrize("baseline", ["none", "termination"])
def test_rows_of_prefixes_are_paid_by_group_or_against_their_prefix(baseline: str) -> None:
    rows = [Prefixed(3, 0.75, stop=True, start=2), Prefixed(3, 0.25), Prefixed(4, 0.5)]
    outcomes = [1.0, 0.0, 1.0]
    rewards, mask = torch.zeros(3, 6), torch.ones(3, 6, dtype=torch.int64)
    for index, (row, outcome) in enumerate(zip(rows, outcomes, strict=True)):
        rewards[index, 5] = outcome
        for token, value in encode_prefixed(row, 6):
            rewards[index, token] += value
    # The rows' own prompts all differ, and so do veRL's groups.
    uids = np.array(["x", "y", "z"], dtype=object)
    ours, _ = advantage.mrt_advantage(rewards, mask, config(mode="prefix", baseline=baseline), uids)
    together = outcome_advantages(np.array([1.0, 0.0]), CreditConfig())
    wanted = [*together, 1.0] if baseline == "none" else [0.25, -0.25, 0.5]
    assert ours[0].numpy() == pytest.approx([0, 0, *[wanted[0]] * 4], abs=1e-6)
    assert ours[1].numpy() == pytest.approx([wanted[1]] * 6, abs=1e-6)
    assert ours[2].numpy() == pytest.approx([wanted[2]] * 6, abs=1e-6)
    assert tracking.taken()["mrt/prefix/stop/rows"] == 1
