"""The advantage estimator `mrt`: veRL's tensors in, `core/credit.py`, veRL's tensors out.

Dimension key: N rows · T response tokens, padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from verl.trainer.ppo import core_algos

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import Floats
from mrt_reward.training.advantages import batch_advantages, check_failures
from mrt_reward.training.metrics import batch_metrics
from mrt_reward.training.prefix import prefix_advantages, prefix_metrics
from mrt_reward.training.settings import TrainingSettings, load_training_settings
from mrt_verl import tracking
from mrt_verl.expand import ESTIMATOR, WHERE
from mrt_verl.marks import decode, decode_prefixed

GRPO_EPSILON = 1e-6
"""What veRL's GRPO adds to the standard deviation."""


def register() -> None:
    """Make veRL know the estimator; twice is as good as once."""
    core_algos.register_adv_est(ESTIMATOR)(mrt_advantage)


def mrt_advantage(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    config: DictConfig,
    index: Sequence[Any] | NDArray[Any] | None = None,
    **_: Any,  # noqa: ANN401 - of other estimators
) -> tuple[torch.Tensor, torch.Tensor]:
    """Advantages and returns of a batch; rows without a token of the policy's get zeros.

    Raises:
        ProverError: too many rows have no progress.

    """
    settings = load_training_settings(OmegaConf.to_container(config.mrt, resolve=True), where=WHERE)  # type: ignore[arg-type]
    reward_NT = token_level_rewards.detach().float().cpu().numpy()
    mask_NT = response_mask.detach().cpu().numpy()
    lengths = [int(np.flatnonzero(row).max(initial=-1)) + 1 for row in (mask_NT != 0)]
    real = [row for row, length in enumerate(lengths) if length]
    rows = [reward_NT[row, : lengths[row]] for row in real]
    groups = [str(index[row]) if index is not None else "" for row in real]
    credit = settings.credit_config(
        scale_by_std=bool(config.get("norm_adv_by_std_in_grpo", True)), epsilon=GRPO_EPSILON, singleton="raw"
    )
    advantage_NT = torch.zeros_like(token_level_rewards, dtype=torch.float32)
    if real:
        paid = _of_prefixes(rows, settings, credit) if settings.mode == "prefix" else None
        for row, advantage_T in zip(real, paid or _of_episodes(rows, groups, settings, credit), strict=True):
            advantage_NT[row, : len(advantage_T)] = torch.from_numpy(advantage_T.astype(np.float32))
    advantage_NT *= response_mask
    return advantage_NT, advantage_NT


def _of_episodes(
    rows: Sequence[Floats], groups: Sequence[str], settings: TrainingSettings, credit: CreditConfig
) -> list[Floats]:
    records = [decode(row, settings) for row in rows]
    check_failures(records, settings.on_failure, settings.max_failed_share, WHERE)
    paid = batch_advantages(records, groups, credit, settings.on_failure)
    metrics = batch_metrics(records, settings, settings.regret_budget or max(map(len, rows)))
    tracking.note({**metrics, "mrt/groups/mixed_versions": float(paid.num_mixed)})
    return paid.advantage_NT


def _of_prefixes(rows: Sequence[Floats], settings: TrainingSettings, credit: CreditConfig) -> list[Floats]:
    records = [decode_prefixed(row) for row in rows]
    tracking.note(prefix_metrics(records))
    return prefix_advantages(records, credit, termination=settings.baseline == "termination")
