"""Whether a loss of TRL's pays each token its own advantage: its gradient at each token's log-probability says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from mrt_trl.checks import LOGP_LOSSES, RATIO_LOSSES

from tests.trl.policy import Recorded, scripted_problems, trainer

LENGTHS = [5, 3, 4]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    # No server is asked in mode prefix, and nothing is trained here.
    data = scripted_problems(4, mrt_group=["g"])
    return trainer(tmp_path_factory.mktemp("losses"), "http://127.0.0.1:9", {"mode": "prefix"}, train_dataset=data)


def gradient(made: Recorded, advantages: torch.Tensor, loss_type: str, level: str, **given: Any) -> torch.Tensor:
    """Gradient of the loss at the log-probability of each token, on the policy that generated."""
    made.loss_type, made.importance_sampling_level = loss_type, level
    made.current_gradient_accumulation_steps = 1
    made.off_policy_mask_threshold = given.get("off_policy_mask_threshold")
    mask = torch.zeros(3, 5, dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        mask[row, :length] = 1
    logps = torch.full((3, 5), -1.5, requires_grad=True)
    made._get_per_token_logps_and_entropies = lambda *_, **__: (logps, torch.ones(3, 5), None)  # type: ignore[method-assign]
    made.model.train()  # type: ignore[union-attr]
    inputs = {
        "prompt_ids": torch.ones(3, 2, dtype=torch.long),
        "prompt_mask": torch.ones(3, 2, dtype=torch.long),
        "completion_ids": torch.ones(3, 5, dtype=torch.long),
        "completion_mask": mask,
        "advantages": advantages,
        "num_items_in_batch": mask.sum(),
        "old_per_token_logps": logps.detach(),
        **({"tool_mask": given["tool_mask"]} if "tool_mask" in given else {}),
    }
    loss: Any = made._compute_loss(made.model, inputs)
    loss.backward()
    assert logps.grad is not None
    return logps.grad


ADVANTAGES = torch.tensor([[0.5, 0.5, 1.0, -0.25, 0.5], [-1.0, 0.25, -1.0, 0, 0], [2.0, -2.0, 2.0, 2.0, 0]])
SUPPORTED = [(name, "token") for name in RATIO_LOSSES] + [
    (name, level) for name in LOGP_LOSSES for level in ("token", "sequence")
]


@pytest.mark.parametrize(("loss_type", "level"), SUPPORTED)
def test_each_token_is_paid_its_own_advantage(made: Recorded, loss_type: str, level: str) -> None:
    # Where the policy has not moved, all losses have the gradient of A·log π, up to the weight that they give a row.
    weight = gradient(made, torch.ones(3, 5), loss_type, level)
    assert (weight[torch.tensor(LENGTHS)[:, None] > torch.arange(5)] < 0).all()
    assert gradient(made, ADVANTAGES, loss_type, level) == pytest.approx(ADVANTAGES * weight, abs=1e-6)


@pytest.mark.parametrize(("loss_type", "level"), SUPPORTED)
def test_one_advantage_for_all_tokens_of_a_row_is_what_trl_does(made: Recorded, loss_type: str, level: str) -> None:
    theirs = gradient(made, torch.tensor([0.5, -1.0, 2.0]), loss_type, level)
    ours = gradient(made, torch.tensor([0.5, -1.0, 2.0])[:, None].expand(3, 5), loss_type, level)
    assert ours.equal(theirs)


@pytest.mark.parametrize("loss_type", RATIO_LOSSES)
def test_one_ratio_for_a_sequence_pays_every_token_the_mean_and_is_refused_for_that(
    made: Recorded, loss_type: str
) -> None:
    found = gradient(made, ADVANTAGES, loss_type, "sequence")
    weight = gradient(made, torch.ones(3, 5), loss_type, "sequence")
    mean = torch.tensor([2.25 / 5, -1.75 / 3, 4.0 / 4])
    assert found == pytest.approx(mean[:, None] * weight, abs=1e-6)
    assert not torch.allclose(found, ADVANTAGES * weight)


def test_a_tools_tokens_are_not_trained(made: Recorded) -> None:
    tool = torch.ones(3, 5, dtype=torch.long)
    tool[0, 2] = 0
    found = gradient(made, ADVANTAGES, "dapo", "token", tool_mask=tool)
    assert found[0, 2] == 0
    assert found[0, 1] != 0


def test_the_off_policy_mask_keeps_tokens_by_their_own_sign(made: Recorded) -> None:
    # Nothing has moved, so nothing is dropped; the mask has the shape of the advantages.
    plain = gradient(made, ADVANTAGES, "grpo", "token")
    assert gradient(made, ADVANTAGES, "grpo", "token", off_policy_mask_threshold=0.1).equal(plain)
