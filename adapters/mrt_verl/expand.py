"""`reward.type=mrt` expanded into the keys that veRL's trainers read."""

from __future__ import annotations

from typing import Any, cast

import verl
from omegaconf import DictConfig, OmegaConf, open_dict

from mrt_reward.errors import ConfigError
from mrt_reward.training.servers import check_servers
from mrt_reward.training.settings import TrainingSettings, load_training_settings
from mrt_verl.engines import check_engines, is_one_step_off, use_pool
from mrt_verl.following import check_following

WHERE = "reward.mrt"
OUTCOME_MANAGER = "mrt_outcome_manager"
"""Key below `reward` where the user's own reward manager is kept."""

ESTIMATOR = "mrt"
_CURRENT, _EARLIER = "0.9.", ("0.8.0", "0.7.1")
_MANAGERS = {True: "mrt_verl.agent_loop_v1.MRTAgentLoopManagerTQ", False: "mrt_verl.agent_loop.MRTAgentLoopManager"}
_REPLACED_ESTIMATORS = ("gae", "grpo", ESTIMATOR)
_SHAPED_METRICS = ("seq_reward", "seq_final_reward", "reward", "score")


def expand(config: DictConfig) -> bool:
    """Turn the switch into veRL's own settings, in place; whether it is on.

    Raises:
        ConfigError: a setting is wrong, contradicts another, or no server answers.

    """
    kind = OmegaConf.select(config, "reward.type")
    if kind is None:
        if OmegaConf.select(config, WHERE):
            raise ConfigError(f"{WHERE} is set, but reward.type is not: add reward.type=mrt", param="reward.type")
        return False
    if kind != "mrt":
        raise ConfigError(f"reward.type must be mrt or absent, got {kind!r}; did you mean mrt?", param="reward.type")
    _check_version(verl.__version__)
    settings = settings_of(config)
    if OmegaConf.select(config, f"reward.{OUTCOME_MANAGER}") is not None:
        return True
    if (settings.by_rollout or settings.by_pool) and not reads_switch_itself():
        raise ConfigError(f"{WHERE}.url={settings.url} needs veRL 0.9.x, and this is {verl.__version__}", param=WHERE)
    if settings.by_pool:
        use_pool(config, settings, WHERE)
    _refuse_mixtures(config)
    check_following(config, settings)
    if settings.by_rollout:
        check_engines(config, settings, WHERE)
    elif settings.by_pool:
        print(f"[mrt] veRL starts {config.reward.reward_model.model_path} in a pool of its own, to prove")  # noqa: T201 - as trainers do
    elif settings.mode == "episodes":
        check_servers(settings, WHERE)
    with open_dict(config):
        reward = config.reward
        reward[OUTCOME_MANAGER] = OmegaConf.to_container(reward.reward_manager)
        reward.reward_manager.source = "importlib"
        reward.reward_manager.name = "MRTRewardManager"
        reward.reward_manager.module.path = "pkg://mrt_verl.reward_manager"
        config.actor_rollout_ref.rollout.agent.agent_loop_manager_class = _MANAGERS[_queues(config)]
        config.algorithm.adv_estimator = ESTIMATOR
        config.algorithm.mrt = {
            **cast("dict[str, Any]", OmegaConf.to_container(reward.mrt, resolve=True)),
            "regret_budget": settings.regret_budget or int(config.data.max_response_length),
        }
    return True


def refuse_fully_asynchronous(config: DictConfig) -> None:
    """Refuse the trainer whose agent loop cannot be extended.

    Raises:
        ConfigError: the switch is on, or anything beside it is set; says which trainers there are instead.

    """
    if "async_training" in config and (OmegaConf.select(config, "reward.type") or OmegaConf.select(config, WHERE)):
        raise ConfigError(
            "reward.type=mrt does not work with the fully asynchronous trainer, whose agent loop nobody can extend in "
            "veRL 0.9.1: start verl.trainer.main_ppo, where trainer.v1.trainer_mode=separate_async also generates "
            "while it trains",
            param="reward.type",
        )


def settings_of(config: DictConfig) -> TrainingSettings:
    """Settings below `reward.mrt`."""
    given = OmegaConf.select(config, WHERE)
    plain = {} if given is None else OmegaConf.to_container(given, resolve=True)
    return load_training_settings(cast("dict[str, Any]", plain), where=WHERE)


def _queues(config: DictConfig) -> bool:
    """Whether trajectories go through veRL's TransferQueue; one step off they do not, whatever `use_v1` says."""
    return bool(config.trainer.get("use_v1", False)) and not is_one_step_off(config)


def reads_switch_itself() -> bool:
    """Whether this veRL validates a configuration before anything is started, which is where the switch is read."""
    return verl.__version__.startswith(_CURRENT)


def _check_version(version: str) -> None:
    if not version.startswith((_CURRENT, *_EARLIER)):
        raise ConfigError(
            "reward.type=mrt works with veRL 0.9.x, and by `python -m mrt_verl.main_ppo` with 0.8.0 and 0.7.1; this is "
            f"{version}, whose reward loop and agent loop are others. Install verl==0.9.1, or score with "
            "mrt_reward.Client from a reward manager of your own"
        )


def _refuse_mixtures(config: DictConfig) -> None:
    """Refuse what would mix with progress, or would make it disappear."""
    algorithm, reward = config.algorithm, config.reward
    if algorithm.get("use_kl_in_reward", False):
        raise ConfigError(
            "algorithm.use_kl_in_reward=True adds a penalty to the token rewards that carry progress: set it to False, "
            "and actor_rollout_ref.actor.use_kl_loss=True instead",
            param="algorithm.use_kl_in_reward",
        )
    estimator = str(getattr(algorithm.adv_estimator, "value", algorithm.adv_estimator))
    if estimator not in _REPLACED_ESTIMATORS:
        raise ConfigError(
            f"algorithm.adv_estimator={estimator} cannot be had with reward.type=mrt, which brings its own on top of "
            "GRPO's: leave it out, or set it to mrt",
            param="algorithm.adv_estimator",
        )
    model = reward.reward_model
    if model.enable and (not model.enable_resource_pool or reward.custom_reward_function.path is None):
        raise ConfigError(
            "reward.reward_model.enable=True without a pool and a function of its own scores whole batches past the "
            "reward manager: set reward.reward_model.enable_resource_pool=True and reward.custom_reward_function.path",
            param="reward.reward_model.enable",
        )
    if OmegaConf.select(config, "actor_rollout_ref.rollout.agent.agent_loop_manager_class"):
        raise ConfigError(
            "actor_rollout_ref.rollout.agent.agent_loop_manager_class is taken by reward.type=mrt: leave it out",
            param="actor_rollout_ref.rollout.agent.agent_loop_manager_class",
        )
    refuse_fully_asynchronous(config)
    filtering = algorithm.get("filter_groups", None)
    if filtering and filtering.get("enable", False) and filtering.get("metric") in _SHAPED_METRICS:
        raise ConfigError(
            f"algorithm.filter_groups.metric={filtering.metric} would look at rewards with progress in them: set it to "
            "acc, or another key of your reward function",
            param="algorithm.filter_groups.metric",
        )
