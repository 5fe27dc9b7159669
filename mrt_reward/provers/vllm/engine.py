"""The engine: vLLM's AsyncLLM in a process of its own, started from settings, asked with token ids, and watched.

Dimension key: n answers of a request.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from vllm import SamplingParams
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import VLLMClientError
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable, translated
from mrt_reward.mistakes import did_you_mean
from mrt_reward.provers.vllm.steering import BRACES

CPU_BLOCK_SIZE = 32
"""The smallest block a CPU takes: what is shared between probes ends at a block's edge."""

CPU_CACHE_BYTES = 2 << 30

OURS = frozenset(
    {
        "model", "tokenizer", "revision", "dtype", "max_model_len", "tensor_parallel_size", "gpu_memory_utilization",
        "trust_remote_code", "skip_tokenizer_init", "logits_processors", "logprobs_mode", "enable_prefix_caching",
        "speculative_config", "disable_log_stats",
    }
)  # fmt: skip
"""Engine arguments that are settings of their own, or that the prover's answers hang on."""

FULL_PRECISION_HEAD = {"head_dtype": "float32"}
"""Logits in float32 also where the rest is in half precision, which rounds a logit of 16 to a multiple of 0.125."""

STOP_TIMEOUT_S = 20.0

CONTROL = "mrt_reward.provers.vllm.steering:AnswerControl"


def refuse_arguments(arguments: Mapping[str, object]) -> None:
    """Say which engine arguments cannot be given.

    Raises:
        ConfigError: one is unknown to vLLM, or not for the caller to set.

    """
    known = {field.name for field in dataclasses.fields(AsyncEngineArgs)}
    for name in arguments:
        if name in OURS:
            raise ConfigError(
                f"engine argument {name!r} cannot be given: it is a setting of its own, or the prover depends on it",
                param="engine_args",
            )
        if name not in known:
            meant = did_you_mean(name, sorted(known - OURS))
            raise ConfigError(f"vLLM has no engine argument {name!r}{meant}", param="engine_args")


def engine_arguments(settings: EngineSettings, folder: Path, braces: Mapping[int, str]) -> dict[str, Any]:
    """Fields of `AsyncEngineArgs`, ours and the caller's.

    Args:
        settings: all but the model.
        folder: of the checkpoint.
        braces: the braces in each token that has any.

    Raises:
        ConfigError: see `refuse_arguments`.

    """
    refuse_arguments(settings.engine_args)
    given = dict(settings.engine_args)
    on_cpu = bool(current_platform.is_cpu())
    extra: dict[str, Any] = {}
    if on_cpu:
        extra = {"block_size": CPU_BLOCK_SIZE, "enforce_eager": True}
        if settings.tensor_parallel_size == 1:
            extra["distributed_executor_backend"] = "uni"
        if settings.gpu_memory_utilization is None and not os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
            extra["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    if settings.gpu_memory_utilization is not None:
        extra["gpu_memory_utilization"] = settings.gpu_memory_utilization
    by_token = {str(token): text for token, text in braces.items()}
    overrides = given.get("hf_overrides", {})
    if not isinstance(overrides, Mapping):
        raise ConfigError(f"engine argument 'hf_overrides' must be an object, got {overrides!r}", param="engine_args")
    return {
        "load_format": "safetensors",
        **extra,
        **given,
        "hf_overrides": {**FULL_PRECISION_HEAD, **cast("Mapping[str, object]", overrides)},
        "model": str(folder),
        "dtype": settings.dtype if settings.dtype != "auto" else "float32" if on_cpu else "bfloat16",
        "max_model_len": settings.max_model_len,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "trust_remote_code": settings.trust_remote_code,
        "additional_config": {**cast("dict[str, Any]", given.get("additional_config", {})), BRACES: by_token},
        "enable_prefix_caching": True,
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "logits_processors": [CONTROL],
    }


class Engine:
    """One running engine, on one checkpoint.

    Args:
        settings: see `engine_arguments`, like the others. Starting takes tens of seconds, and blocks.
        folder: of the checkpoint.
        braces: the braces in each token that has any.

    Attributes:
        settings: that it was started with.
        folder: of the checkpoint.
        max_model_len: longest context, answer included.
        dtype: of weights and cache.
        vocab_size: ids are below it.
        block_size: tokens of one block of the key-value cache.
        window: tokens that layers with a window see; 0 where there are none.
        num_blocks: of the cache.
        max_num_seqs: sequences that run at once.
        max_lora_rank: largest rank of an adapter; None where adapters are off.

    Raises:
        ConfigError: it does not start with these settings.

    """

    def __init__(self, settings: EngineSettings, folder: Path, braces: Mapping[int, str]) -> None:
        # On a small machine the default leaves all work to one core.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        if settings.threads is not None:
            # A process that is forked has what is set here, one that starts anew reads the variable.
            os.environ["OMP_NUM_THREADS"] = str(settings.threads)
            torch.set_num_threads(settings.threads)
        if current_platform.is_cpu():
            # Otherwise the first request waits for a compiler; a CPU gains nothing from it.
            os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
            # The engine has a process of its own either way; this spares it a second one for its only worker.
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        with translated(lambda error: ConfigError(_start_failure(settings, folder, error), param="model")):
            llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(settings, folder, braces)))
        lora = llm.vllm_config.lora_config
        self.settings = settings
        self.folder = folder
        self.max_model_len = int(llm.model_config.max_model_len)
        self.dtype = str(llm.model_config.dtype).removeprefix("torch.")
        self.vocab_size = int(llm.model_config.get_vocab_size())
        self.block_size = int(llm.vllm_config.cache_config.block_size)
        self.window = int(getattr(llm.model_config.hf_text_config, "sliding_window", None) or 0)
        self.num_blocks = int(llm.vllm_config.cache_config.num_gpu_blocks or 0)
        self.max_num_seqs = int(llm.vllm_config.scheduler_config.max_num_seqs)
        self.max_lora_rank = None if lora is None else int(lora.max_lora_rank)
        self._llm: AsyncLLM | None = llm
        self._ids = itertools.count()

    @property
    def num_running(self) -> int:
        """Requests that are not finished."""
        return 0 if self._llm is None else self._llm.get_num_unfinished_requests()

    @property
    def dead(self) -> bool:
        """Its process has ended, and not because it was closed."""
        return self._llm is not None and bool(self._llm.errored)

    async def ask(
        self, ids: Sequence[int], params: SamplingParams, salt: str, adapter: LoRARequest | None = None
    ) -> RequestOutput:
        """One request, finished. Cancelling it aborts it in the engine.

        Args:
            ids: the prompt.
            params: how to go on; only the final output is returned.
            salt: cached prefixes are shared only between requests with the same one.
            adapter: weights to add to the model's own.

        Raises:
            ProverUnavailable: the engine is dead.
            ProverError: it refused or failed this request.

        """
        params.output_kind = RequestOutputKind.FINAL_ONLY
        params.detokenize = False
        prompt = tokens_input(list(ids), cache_salt=salt)
        llm = self._llm
        if llm is None:
            raise ProverUnavailable("the prover was closed")
        output: RequestOutput | None = None
        with translated(self._request_failure):
            stream = llm.generate(prompt, params, f"mrt-{next(self._ids)}", lora_request=adapter)
            async for by_token in stream:
                output = by_token
        if output is None or not output.finished:
            raise self.death() if self.dead else ProverError("the engine ended a request without an answer")
        return output

    async def add_adapter(self, adapter: LoRARequest) -> None:
        """Load an adapter beside what is there.

        Raises:
            ProverError: the engine cannot take it.

        """
        if self._llm is None:
            raise ProverUnavailable("the prover was closed")
        with translated(self._adapter_failure):
            added = await self._llm.add_lora(adapter)
        if not added:
            raise ProverError("the engine did not take the adapter", code="adapter_refused")

    def _request_failure(self, error: Exception) -> ProverError:
        if isinstance(error, EngineDeadError) or self.dead:
            return self.death()
        if isinstance(error, VLLMClientError):
            return ProverError(f"the engine refused the request: {error}", code="refused_by_engine")
        return ProverError(f"the engine failed: {error.__cause__ or error!r}")

    def _adapter_failure(self, error: Exception) -> ProverError:
        if isinstance(error, EngineDeadError):
            return self.death()
        return ProverError(f"the engine did not take the adapter: {error}", code="adapter_refused")

    @staticmethod
    def death() -> ProverUnavailable:
        """The error that callers get after its process ended."""
        return ProverUnavailable(
            "the vLLM engine process ended (its last log lines say why): the server stops, send the request again "
            "once it was restarted",
            code="engine_dead",
        )

    def stop(self) -> None:
        """End its process; blocks for some seconds."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        handler = cast("Any", llm.output_handler)
        if handler is not None and not handler.done():
            # Else it reports the end that is wanted here as a failure.
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                handler.get_loop().call_soon_threadsafe(handler.cancel)
        llm.shutdown(timeout=STOP_TIMEOUT_S)


def _start_failure(settings: EngineSettings, folder: Path, error: BaseException) -> str:
    by_token = str(error).strip() or repr(error)
    return (
        f"vLLM does not start on {folder} with dtype {settings.dtype} ({by_token}). If the log above speaks of memory: "
        f"lower max_model_len (now {settings.max_model_len or 'the full context of the model'}), or give the cache "
        f"more with gpu_memory_utilization or --engine-arg kv_cache_memory_bytes=BYTES; if of the dtype: try --dtype "
        f'bfloat16 or float32; if of a quantized lm_head: --engine-arg \'hf_overrides={{"head_dtype": "model"}}\''
    )
