"""The scoring service in a run of veRL: one actor without a GPU, which asks replicas of veRL's at their addresses.

trainer's process:  starts it · says when the replicas sleep, and which weights they wake with
agent loop:         notes which replica wrote a trace
reward workers:     ask it, as they would ask any server
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayError
from verl.checkpoint_engine.base import CheckpointEngineManager
from verl.utils.fs import copy_to_local
from verl.utils.ray_utils import auto_await

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.training.settings import TrainingSettings

logger = logging.getLogger(__name__)

NAME = "mrt_scoring_service"
"""Of the actor. Names are a run's own, unless `ray_kwargs.ray_init.namespace` is set."""

BEFORE = "start"
"""Version of weights that belong to no step."""

START_S, CALL_TIMEOUT_S = 600.0, 60.0
"""Longest time to start, and to take new weights: both are fractions of a second, unless the machine is busy."""

_DTYPES = ("float32", "bfloat16", "float16")


class Service:
    """The actor.

    Args:
        engines: the replicas.
        url: what the user set, and `where` they did so.

    """

    def __init__(self, engines: EngineSettings, url: object, where: str) -> None:
        from mrt_reward.in_process import EnginesService  # noqa: PLC0415 - heavy, and this process alone needs it

        self._service = EnginesService(engines, ray.util.get_node_ip_address().strip("[]"), url, where)
        self._url = ""

    async def start(self, version: str, *, likelihood: bool) -> str:
        """Begin to serve; what callers should know of the values. Raises as `EnginesService.start` does."""
        self._url, info = await self._service.start(version, likelihood=likelihood)
        return info.note

    async def address(self) -> tuple[str, str]:
        """Its URL, and the key that it takes."""
        return self._url, self._service.key

    async def pause(self) -> None:
        """Ask the replicas nothing, until `resume`."""
        await self._service.pause()

    async def resume(self, version: str) -> None:
        """Ask them again, of these weights."""
        await self._service.resume(version)


class _Run:
    """What the trainer's process knows of its service, which lives as long as somebody knows it."""

    service: Any = None
    version: str = BEFORE
    sleeps: bool = False
    """Whether it asks replicas that sleep and take weights: the policy's."""


def start(manager: Any, settings: TrainingSettings, where: str) -> None:  # noqa: ANN401 - one of two classes of veRL's
    """Start the service over replicas that are awake: those of an agent loop's manager, or those of the pool.

    Raises:
        ConfigError: the replicas cannot prove; says why.

    """
    replicas = f"the {'pool' if settings.by_pool else 'policy'}'s replicas"
    version, config = "pool" if settings.by_pool else _Run.version, manager.config
    likelihood = settings.estimator == "likelihood" or settings.likelihood_prior
    addresses = pool_addresses(config) if settings.by_pool else rollout_addresses(manager)
    actor: Any = ray.remote(Service)
    engines = engines_of(config, addresses, pool=settings.by_pool)
    service = actor.options(name=NAME, num_cpus=0).remote(engines, settings.urls[0], where)
    try:
        note: str = ray.get(service.start.remote(version, likelihood=likelihood), timeout=START_S)
    except (RayError, MRTRewardError) as error:
        cause = getattr(error, "cause", error)
        raise ConfigError(
            f"{where}.url={settings.urls[0]}: {replicas} ({', '.join(addresses)}) cannot prove: {cause}",
            param=f"{where}.url",
        ) from error
    _Run.service, _Run.sleeps = service, settings.by_rollout
    weights = "those it was started with" if settings.by_pool else "those of each step"
    print(f"[mrt] {replicas} ({len(addresses)}) prove; their weights are {weights}{note and '; '}{note}")  # noqa: T201 - as trainers do


def rollout_addresses(manager: Any) -> list[str]:  # noqa: ANN401 - one of two classes of veRL's
    """Of the replicas that an agent loop's manager generates with."""
    balancer: Any = manager.llm_client._load_balancer  # noqa: SLF001 - pinned in the contract tests
    return ray.get(balancer.get_all_servers.remote())


def pool_addresses(config: DictConfig) -> list[str]:
    """Of the replicas of veRL's reward models, by the names of their first actors."""
    pool = config.reward.reward_model
    size = math.prod(int(pool.rollout[f"{kind}_parallel_size"]) for kind in ("tensor_model", "data", "pipeline_model"))
    num_replicas = int(pool.n_gpus_per_node) * int(pool.nnodes) // size
    actors: list[Any] = [ray.get_actor(f"{pool.rollout.name}_server_reward_{rank}_0") for rank in range(num_replicas)]
    found: list[tuple[str, int]] = ray.get([actor.get_server_address.remote() for actor in actors])
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in found]


def engines_of(config: DictConfig, addresses: list[str], *, pool: bool) -> EngineSettings:
    """The replicas, as an engine of ours gets them."""
    model = config.actor_rollout_ref.model
    rollout = config.reward.reward_model.rollout if pool else config.actor_rollout_ref.rollout
    policys = OmegaConf.select(model, "tokenizer_path") or model.path
    return EngineSettings(
        engine="openai",
        engine_url=tuple(map(url_of, addresses)),
        tokenizer=copy_to_local(config.reward.reward_model.model_path if pool else policys),
        dtype=str(rollout.dtype) if rollout.dtype in _DTYPES else "auto",  # type: ignore[arg-type] - one of them
        max_model_len=rollout.get("max_model_len"),
    )


def url_of(address: str) -> str:
    """Of a replica."""
    return f"http://{address}"


async def address() -> tuple[str, str]:
    """Where the run's service listens, and the key that it takes.

    Raises:
        ValueError: there is none.

    """
    service: Any = ray.get_actor(NAME)
    return await service.address.remote()


def follow_weights() -> None:
    """Tell the service when replicas sleep, and what they wake with; twice is as good as once.

    All of veRL's trainers go through one class for that. Without a service, the version is kept for the one to come.
    """
    if hasattr(CheckpointEngineManager, "notifies_mrt"):
        return
    CheckpointEngineManager.notifies_mrt = True  # type: ignore[attr-defined]
    for name in ("sleep_replicas", "abort_replicas", "update_weights"):
        original = inspect.unwrap(getattr(CheckpointEngineManager, name))
        setattr(CheckpointEngineManager, name, auto_await(_notifying(original, wakes=name == "update_weights")))


def _notifying(
    original: Callable[..., Coroutine[Any, Any, Any]], *, wakes: bool
) -> Callable[..., Coroutine[Any, Any, Any]]:
    @functools.wraps(original)
    async def notified(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - veRL's own
        _notify("pause")
        result = await original(self, *args, **kwargs)
        if wakes:
            step = args[0] if args else kwargs.get("global_steps")
            _Run.version = _Run.version if step is None else str(step)
            _notify("resume", _Run.version)
        return result

    return notified


def _notify(what: str, *args: str) -> None:
    """Training goes on without a service; one that does not know which weights are there must not score."""
    if not _Run.sleeps:
        return
    try:
        ray.get(getattr(_Run.service, what).remote(*args), timeout=CALL_TIMEOUT_S)
    except RayError as error:
        logger.error("mrt: the scoring service did not answer to %s, and is ended: %s", what, error)
        _Run.sleeps = False
        ray.kill(_Run.service)
