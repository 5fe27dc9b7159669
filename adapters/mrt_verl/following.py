"""A prover that follows the policy: the trainer's saved weights, handed to the servers' admin ports."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from mrt_reward.errors import ConfigError
from mrt_reward.training import following
from mrt_reward.training.settings import TrainingSettings


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
    following.check_shared(Path(config.trainer.default_local_dir).absolute(), settings, "reward.mrt")


def saved_weights(config: DictConfig, step: int) -> Path:
    """Where the trainer puts the policy's weights of a step."""
    return Path(config.trainer.default_local_dir).absolute() / f"global_step_{step}" / "actor" / "huggingface"


def hand_over(config: DictConfig, settings: TrainingSettings, step: int) -> dict[str, float]:
    """Tell every server to prove with the weights of this step; what was done, for the log."""
    if settings.follow_steps is None:
        return {}
    return following.hand_over(saved_weights(config, step), settings, step)
