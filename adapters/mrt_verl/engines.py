"""`reward.mrt.url=rollout`: what veRL's configuration has to be so that the policy's own replicas can prove."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from mrt_reward.errors import ConfigError
from mrt_reward.training.servers import check_policy
from mrt_reward.training.settings import TrainingSettings

ROOM = 64
"""Tokens beyond prompt and response that a terminator and an answer may take."""

INSTEAD = "Start `mrt-reward serve`, and set reward.mrt.url to its address"
_MODES = ("sync", "colocate_async")
_ROLLOUT = "actor_rollout_ref.rollout"


def check_engines(config: DictConfig, settings: TrainingSettings, where: str) -> None:
    """See that the replicas have the policy's weights at each step, and can be asked.

    Raises:
        ConfigError: they do not, or cannot; says which setting, and what to do instead.

    """
    check_policy(settings, where)
    for name, why in _contradictions(config):
        raise ConfigError(f"{where}.url=rollout does not go with {name}: {why}", param=name)


def _contradictions(config: DictConfig) -> Iterator[tuple[str, str]]:
    """What cannot be proved rightly, with the setting that says so."""
    rollout, model = config.actor_rollout_ref.rollout, config.actor_rollout_ref.model
    if config.trainer.get("use_v1", False) and (mode := config.trainer.v1.trainer_mode) not in _MODES:
        yield (
            f"trainer.v1.trainer_mode={mode}",
            "its replicas take weights while others of them write, and join and leave while it runs, so that the "
            f"weights behind a value are not known; with {' or '.join(_MODES)} they are. {INSTEAD}",
        )
    if rollout.name == "trtllm":
        yield f"{_ROLLOUT}.name=trtllm", f"its server tells no log-probabilities of given tokens. {INSTEAD}"
    if _unmerged_lora(model):
        yield (
            "actor_rollout_ref.model.lora_rank",
            "over HTTP a replica answers by its base model, without the adapter: add "
            f"+actor_rollout_ref.model.lora.merge=True. Or: {INSTEAD}",
        )
    if OmegaConf.select(rollout, "disaggregation.enabled"):
        yield f"{_ROLLOUT}.disaggregation.enabled=True", f"a prefill server alone gives no answers. {INSTEAD}"
    if rollout.get("checkpoint_manager_class"):
        yield (
            f"{_ROLLOUT}.checkpoint_manager_class",
            f"when weights change is read off veRL's own CheckpointEngineManager: leave it out. Or: {INSTEAD}",
        )
    if str(rollout.get("logprobs_mode", "")).endswith("logits"):
        yield f"{_ROLLOUT}.logprobs_mode={rollout.logprobs_mode}", "probes need probabilities: leave it out"
    wanted = int(config.data.max_prompt_length) + int(config.data.max_response_length) + ROOM
    if (given := rollout.get("max_model_len")) is not None and int(given) < wanted:
        yield (
            f"{_ROLLOUT}.max_model_len={given}",
            f"a probe of the longest response needs {wanted} tokens: raise it, or leave it out",
        )


def _unmerged_lora(model: DictConfig) -> bool:
    rank = int(model.get("lora_rank", 0) or 0) or int(OmegaConf.select(model, "lora.rank") or 0)
    return rank > 0 and not OmegaConf.select(model, "lora.merge")
