"""What veRL's configuration has to be so that replicas can prove: `reward.mrt.url=rollout` and `pool`."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf, open_dict

from mrt_reward.errors import ConfigError
from mrt_reward.training.servers import check_without_server
from mrt_reward.training.settings import TrainingSettings

ROOM = 64
"""Tokens beyond prompt and response that a terminator and an answer may take."""

INSTEAD = "Start `mrt-reward serve`, and set reward.mrt.url to its address"
OWN_SCORE = "pkg://verl.utils.reward_score"
"""Module of veRL's own reward functions: named where the user names none, or veRL would ask the pool for rewards."""

_POOL = "reward.reward_model"
_MODES = ("sync", "colocate_async")
_ROLLOUT = "actor_rollout_ref.rollout"


def is_one_step_off(config: DictConfig) -> bool:
    """Whether it is of the trainer one step off, whose replicas alone stand under a key of their own."""
    return "rollout" in config


def check_engines(config: DictConfig, settings: TrainingSettings, where: str) -> None:
    """See that the replicas have the policy's weights at each step, and can be asked.

    Raises:
        ConfigError: they do not, or cannot; says which setting, and what to do instead.

    """
    check_without_server(settings, where)
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
    if is_one_step_off(config):
        yield "rollout", f"one step off, a step is written with the weights of the step before. {INSTEAD}"
    yield from _unprovable(rollout, rollout.name, _ROLLOUT, _longest_probe(config))
    if _unmerged_lora(model):
        yield (
            "actor_rollout_ref.model.lora_rank",
            "over HTTP a replica answers by its base model, without the adapter: add "
            f"actor_rollout_ref.model.lora.merge=True. Or: {INSTEAD}",
        )
    if OmegaConf.select(rollout, "disaggregation.enabled"):
        yield f"{_ROLLOUT}.disaggregation.enabled=True", f"a prefill server alone gives no answers. {INSTEAD}"
    if rollout.get("checkpoint_manager_class"):
        yield (
            f"{_ROLLOUT}.checkpoint_manager_class",
            f"when weights change is read off veRL's own CheckpointEngineManager: leave it out. Or: {INSTEAD}",
        )


def _longest_probe(config: DictConfig) -> int:
    return int(config.data.max_prompt_length) + int(config.data.max_response_length) + ROOM


def _unprovable(rollout: DictConfig, name: str, where: str, num_tokens: int) -> Iterator[tuple[str, str]]:
    """What replicas of these settings, started by this name, cannot answer; a probe has up to so many tokens."""
    if name == "trtllm":
        yield f"{where}.name=trtllm", f"its server returns no log-probabilities of given tokens. {INSTEAD}"
    if str(rollout.get("logprobs_mode", "")).endswith("logits"):
        yield f"{where}.logprobs_mode={rollout.logprobs_mode}", "probes need probabilities: leave it out"
    if (given := rollout.get("max_model_len")) is not None and int(given) < num_tokens:
        yield (
            f"{where}.max_model_len={given}",
            f"a probe of the longest response needs {num_tokens} tokens: raise it, or leave it out",
        )


def _unmerged_lora(model: DictConfig) -> bool:
    rank = int(model.get("lora_rank", 0) or 0) or int(OmegaConf.select(model, "lora.rank") or 0)
    return rank > 0 and not OmegaConf.select(model, "lora.merge")


def use_pool(config: DictConfig, settings: TrainingSettings, where: str) -> None:
    """Have veRL start its pool of reward models, in place, with the prover in it.

    Raises:
        ConfigError: the pool is taken, or has no GPU; says what to add.

    """
    check_without_server(settings, where)
    for name, why in _pool_contradictions(config):
        raise ConfigError(f"{where}.url=pool: {name}: {why}", param=name)
    model, actor = config.reward.reward_model, config.actor_rollout_ref
    with open_dict(config):
        model.enable = model.enable_resource_pool = True
        model.model_path = model.model_path or actor.model.path
        if OmegaConf.is_missing(model.rollout, "name"):
            model.rollout.name = actor.rollout.name
        # It would sleep after its start, and nobody would wake it.
        model.rollout.free_cache_engine = False
        if config.reward.custom_reward_function.path is None:
            config.reward.custom_reward_function.path = OWN_SCORE
            config.reward.custom_reward_function.name = "default_compute_score"


def _pool_contradictions(config: DictConfig) -> Iterator[tuple[str, str]]:
    model = config.reward.reward_model
    if is_one_step_off(config):
        yield "rollout", f"the trainer one step off has no place for a pool in veRL 0.9.1. {INSTEAD}"
    if model.enable:
        yield f"{_POOL}.enable=True", f"the pool is that of a reward model of yours: leave it out. Or: {INSTEAD}"
    num_gpus, parallel = int(model.n_gpus_per_node) * int(model.nnodes), int(model.rollout.tensor_model_parallel_size)
    if num_gpus < 1:
        yield (
            f"{_POOL}.nnodes={model.nnodes}",
            f"the prover needs GPUs that nobody else has: add {_POOL}.nnodes=1 {_POOL}.n_gpus_per_node=N",
        )
    if num_gpus % parallel:
        name = f"{_POOL}.rollout.tensor_model_parallel_size"
        yield f"{name}={parallel}", f"{num_gpus} GPUs are no multiple of it: add {name}=1"
    named = not OmegaConf.is_missing(model.rollout, "name")
    name = model.rollout.name if named else config.actor_rollout_ref.rollout.name
    yield from _unprovable(model.rollout, name, f"{_POOL}.rollout", _longest_probe(config))
