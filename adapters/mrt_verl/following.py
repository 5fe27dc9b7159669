"""A prover that follows the policy: the trainer's saved weights, handed to the servers' admin ports."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mrt_reward.errors import ConfigError
from mrt_reward.training import following
from mrt_reward.training.settings import TrainingSettings
from mrt_verl.vouching import canary


def check_following(config: DictConfig, settings: TrainingSettings) -> None:
    """See that the trainer saves what a prover can load, and where.

    Raises:
        ConfigError: it does not; the message is the line to add.

    """
    steps = settings.follow_steps
    if steps is None:
        return
    contents = OmegaConf.select(config, "actor_rollout_ref.actor.checkpoint.save_contents") or []
    if "hf_model" not in contents:
        listed = ",".join(f"'{item}'" for item in [*contents, "hf_model"])
        raise ConfigError(
            "reward.mrt.follow_steps needs weights in Hugging Face format: add "
            f"actor_rollout_ref.actor.checkpoint.save_contents=[{listed}]",
            param="reward.mrt.follow_steps",
        )
    save_freq = int(config.trainer.save_freq)
    if save_freq < 1 or steps % save_freq:
        raise ConfigError(
            f"reward.mrt.follow_steps={steps} needs a checkpoint at each of these steps, and trainer.save_freq is "
            f"{save_freq}: add trainer.save_freq={steps}",
            param="reward.mrt.follow_steps",
        )
    if settings.keep_last is not None:
        raise ConfigError(
            f"reward.mrt.keep_last={settings.keep_last}: checkpoints are veRL's own: leave it out, and add "
            f"trainer.max_actor_ckpt_to_keep={settings.keep_last}",
            param="reward.mrt.keep_last",
        )
    following.check_shared(Path(config.trainer.default_local_dir).absolute(), settings, "reward.mrt")


def saved_weights(config: DictConfig, step: int) -> Path:
    """Where the trainer puts the policy's weights of a step."""
    return Path(config.trainer.default_local_dir).absolute() / f"global_step_{step}" / "actor" / "huggingface"


def hand_over(config: DictConfig, settings: TrainingSettings, step: int, workers: Sequence[Any]) -> dict[str, float]:
    """Make every server prove with the weights of this step; what was done, for the log.

    Args:
        config: of the trainer.
        settings: for `follow_steps` and the admin ports.
        step: of the trainer, whose weights the replicas have by now.
        workers: of the agent loop; the first one asks a replica for the canary.

    """
    if settings.follow_steps is None:
        return {}
    vouch = partial(canary, config, step, workers)
    return following.hand_over(saved_weights(config, step), settings, step, canary=vouch)
