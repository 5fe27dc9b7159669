"""The embedded engine: a Hugging Face model in this process, on a CPU or one GPU.

Work runs in one thread of its own (`worker`), so the event loop is never blocked.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable, WeightsError, WeightsUnsupported
from mrt_reward.protocols import (
    Probe,
    Proof,
    Proven,
    Prover,
    ProverInfo,
    RolloutQuery,
    Tokenizer,
    WeightsCanary,
    WeightsKind,
)
from mrt_reward.provers.checkpoints import refuse_other_model
from mrt_reward.provers.hf.loading import dtype_of, load
from mrt_reward.provers.hf.pulse import Pulse
from mrt_reward.provers.hf.selfcheck import ProvedModel
from mrt_reward.provers.hf.threads import num_threads
from mrt_reward.provers.hf.worker import ProverWorker, Weights

NUM_SLOTS = 32


class TransformersProver:
    """A `Prover` over transformers: one causal pass a trace, its terminated suffixes packed into masked passes.

    Sampled answers of several traces grow side by side, as many as `max_kv_tokens` has room for. A model whose layers
    cannot be packed is asked cut by cut, one trace at a time, and one that no way of asking proves right is refused.

    Args:
        settings: model, dtype ("auto" is float32), device, threads, longest context, revision, and whether its code may
            run. Hub names respect `HF_HUB_OFFLINE`.
        note: a caveat for whoever reads the values.

    Raises:
        ConfigError: the model cannot be loaded, or cannot be asked rightly.

    """

    def __init__(self, settings: EngineSettings, *, note: str = "") -> None:
        if settings.engine_args:
            raise ConfigError("engine_args are vLLM's: add --engine vllm, or leave them out", param="engine_args")
        self._settings = settings
        loaded = load(settings)
        self._pulse = Pulse()
        self._pulse.follow(loaded.model.model)
        # New weights are compared with these: what was loaded since may be deleted once it is served.
        self._first_folder = loaded.folder
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        threads = num_threads(loaded.model.model, settings.threads)
        self._info = ProverInfo(
            settings.named_model,
            loaded.version,
            "transformers",
            loaded.model.max_tokens,
            note,
            dtype_of(settings),
            coupled="exact",
            num_threads=threads,
            computed_per_needed=loaded.model.overhead,
        )
        self._worker = ProverWorker(
            Weights(loaded.model, loaded.version),
            self._pulse,
            num_threads=threads,
            max_columns=settings.max_kv_tokens,
        )

    @property
    def info(self) -> ProverInfo:
        """Name, version and limits of the model that proves now."""
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the model."""
        return self._tokenizer

    @property
    def network(self) -> torch.nn.Module:
        """The model itself, as it was loaded; not to be called while a proof runs."""
        return self._model.model

    @property
    def num_slots(self) -> int:
        """As many as `evaluate` asks at once, and more: which of them run side by side, the worker decides."""
        return NUM_SLOTS

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last pass or layer of the proof under way; None while idle."""
        return self._pulse.silent_s

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof.

        Cancelling is noticed between passes over the trace (`PREFILL_CHUNK`, `FIRST_CHUNKS`), or after a decoding step.

        Raises:
            ProverError: it failed; `ProverUnavailable` if the prover was closed.

        """
        return await asyncio.wrap_future(self._worker.prove(proof))

    async def check(self) -> None:
        """Generate one token.

        Raises:
            ProverUnavailable: it could not.

        """
        await generate_one(self)

    async def load_weights(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> None:
        """Load a checkpoint beside the one that serves, prove that it is right, and change over between two proofs.

        Raises:
            WeightsError: it does not fit, does not answer rightly, or not as its sender says; the old one serves on.
            ProverUnavailable: the prover was closed.
            WeightsUnsupported: it is an adapter.

        """
        if kind == "lora":
            raise WeightsUnsupported(
                "engine 'transformers' takes no LoRA adapters: merge it into a checkpoint, or serve with --engine vllm"
            )
        await asyncio.to_thread(refuse_other_model, self._first_folder, folder)
        other = {"model": str(folder), "revision": None}
        try:
            loaded = await asyncio.to_thread(load, self._settings.model_copy(update=other))
        except ConfigError as error:
            raise WeightsError(
                f"these weights cannot be loaded, the old ones serve on: {error}", param="path"
            ) from error
        if canary is not None:
            await asyncio.to_thread(_refuse_others, loaded.model, canary, self._info)
        self._pulse.follow(loaded.model.model)
        info = replace(self._info, model=str(folder), version=loaded.version, computed_per_needed=loaded.model.overhead)
        await asyncio.wrap_future(self._worker.change(Weights(loaded.model, info.version)))
        self._model, self._info = loaded.model, info

    async def close(self) -> None:
        """Stop what runs, and release the worker."""
        await asyncio.to_thread(self._worker.close)


async def generate_one(prover: Prover) -> None:
    """Let a prover generate one token.

    Raises:
        ProverUnavailable: it could not.

    """
    query = RolloutQuery(num_samples=1, temperature=0.0, top_p=1.0, max_tokens=1, stop_at_close=False)
    try:
        await prover.prove(Proof(np.zeros(1, np.int32), (Probe(1, (0,)),), query))
    except ProverUnavailable:
        raise
    except ProverError as error:
        raise ProverUnavailable(f"the prover cannot generate: {error}") from error


def _refuse_others(model: ProvedModel, canary: WeightsCanary, info: ProverInfo) -> None:
    """See that a model has the weights that their sender has.

    Raises:
        WeightsError: it has not, or cannot be asked.

    """
    canary.check_fits(info.max_tokens, int(cast("Any", model.model).config.get_text_config().vocab_size))
    try:
        answers, _ = model.prove(canary.proof, lambda: None)
    except ProverError as error:
        raise WeightsError(f"the canary cannot be answered: {error}", param="canary") from error
    canary.refuse_others(answers, info.dtype)
