"""The scoring service in a run of veRL: one actor without a GPU, which asks the policy's replicas at their addresses.

trainer's process:  starts it · says when the replicas sleep, and which weights they wake with
agent loop:         notes which replica wrote a trace
reward workers:     ask it, as they would ask any server
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import GetTimeoutError, RayError
from verl.checkpoint_engine.base import CheckpointEngineManager
from verl.utils.fs import copy_to_local
from verl.utils.ray_utils import auto_await

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.in_process import EnginesService
from mrt_reward.training.settings import BY_ROLLOUT, TrainingSettings

logger = logging.getLogger(__name__)

NAME = "mrt_scoring_service"
"""Of the actor. Names are a run's own, unless `ray_kwargs.ray_init.namespace` is set."""

BEFORE = "start"
"""Version of weights that no step was told of."""

START_S, TELL_S = 600.0, 60.0
"""Longest time to start, and to be told of weights: both are fractions of a second, unless the machine is busy."""

_DTYPES = ("float32", "bfloat16", "float16")


class Service:
    """The actor.

    Args:
        engines: the replicas.
        where: place of the user's settings.

    """

    def __init__(self, engines: EngineSettings, where: str) -> None:
        self._service = EnginesService(engines, ray.util.get_node_ip_address().strip("[]"), BY_ROLLOUT, where)
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
    """What the trainer's process knows of its service."""

    service: Any = None
    version: str = BEFORE


def start(manager: Any, settings: TrainingSettings, where: str) -> None:  # noqa: ANN401 - one of two classes of veRL's
    """Start the service over the replicas of an agent loop's manager, which are awake.

    Raises:
        ConfigError: the replicas cannot prove; says why.

    """
    balancer: Any = manager.llm_client._load_balancer  # noqa: SLF001 - pinned in the contract tests
    addresses: list[str] = ray.get(balancer.get_all_servers.remote())
    engines = engines_of(manager.config, addresses)
    actor: Any = ray.remote(Service)
    service = actor.options(name=NAME, num_cpus=0).remote(engines, where)
    likelihood = settings.estimator == "likelihood" or settings.likelihood_prior
    try:
        note: str = ray.get(service.start.remote(_Run.version, likelihood=likelihood), timeout=START_S)
    except (RayError, MRTRewardError) as error:
        cause = getattr(error, "cause", error)
        raise ConfigError(
            f"{where}.url=rollout: the policy's replicas ({', '.join(addresses)}) cannot prove: {cause}",
            param=f"{where}.url",
        ) from error
    _Run.service = service
    told = f"; {note}" if note else ""
    print(f"[mrt] the policy's replicas ({len(addresses)}) prove, at each step with the weights of that step{told}")  # noqa: T201 - as trainers do


def engines_of(config: DictConfig, addresses: list[str]) -> EngineSettings:
    """The replicas, as an engine of ours is told of them."""
    model, dtype = config.actor_rollout_ref.model, str(config.actor_rollout_ref.rollout.dtype)
    return EngineSettings(
        engine="openai",
        engine_url=tuple(map(url_of, addresses)),
        tokenizer=copy_to_local(OmegaConf.select(model, "tokenizer_path") or model.path),
        dtype=dtype if dtype in _DTYPES else "auto",  # type: ignore[arg-type] - one of them
        max_model_len=config.actor_rollout_ref.rollout.get("max_model_len"),
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
    if hasattr(CheckpointEngineManager, "tells_mrt"):
        return
    CheckpointEngineManager.tells_mrt = True  # type: ignore[attr-defined]
    for name in ("sleep_replicas", "abort_replicas", "update_weights"):
        original = inspect.unwrap(getattr(CheckpointEngineManager, name))
        setattr(CheckpointEngineManager, name, auto_await(_told(original, wakes=name == "update_weights")))


def _told(original: Callable[..., Coroutine[Any, Any, Any]], *, wakes: bool) -> Callable[..., Coroutine[Any, Any, Any]]:
    @functools.wraps(original)
    async def told(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - veRL's own
        _tell("pause")
        result = await original(self, *args, **kwargs)
        if wakes:
            step = args[0] if args else kwargs.get("global_steps")
            _Run.version = _Run.version if step is None else str(step)
            _tell("resume", _Run.version)
        return result

    return told


def _tell(what: str, *args: str) -> None:
    """Training goes on whatever becomes of the service: what it does not score is counted."""
    if _Run.service is None:
        return
    try:
        ray.get(getattr(_Run.service, what).remote(*args), timeout=TELL_S)
    except (RayError, GetTimeoutError) as error:
        logger.error("mrt: the scoring service cannot be told to %s: %s", what, error)
