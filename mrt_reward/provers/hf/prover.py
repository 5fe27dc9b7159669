"""The embedded engine: a Hugging Face model in this process, on a CPU or one GPU.

Work runs in one thread of its own, so the event loop is never blocked and the model is never called twice at once.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable, WeightsError, WeightsUnsupported
from mrt_reward.protocols import Probe, Proof, Proven, ProverInfo, RolloutQuery, Tokenizer, WeightsKind
from mrt_reward.provers.checkpoints import refuse_other_model
from mrt_reward.provers.hf.loading import dtype_of, load
from mrt_reward.provers.hf.pulse import Pulse
from mrt_reward.provers.hf.selfcheck import ProvedModel


class _Left(Exception):
    """The caller has left."""


class TransformersProver:
    """A `Prover` over transformers: one causal pass a trace, its terminated suffixes packed into masked passes.

    A model whose layers cannot be packed is asked cut by cut, and one that no way of asking proves right is refused.

    Args:
        settings: model, dtype ("auto" is float32), device, longest context, revision, and whether its code may run.
            Hub names respect `HF_HUB_OFFLINE`.
        num_threads: of the CPU, for one operation; None is torch's own choice.
        note: a caveat for whoever reads the values.

    Raises:
        ConfigError: the model cannot be loaded, or cannot be asked rightly.

    """

    def __init__(self, settings: EngineSettings, *, num_threads: int | None = None, note: str = "") -> None:
        if settings.engine_args:
            raise ConfigError("engine_args are vLLM's: add --engine vllm, or leave them out", param="engine_args")
        self._settings = settings
        loaded = load(settings)
        self._pulse = Pulse()
        self._pulse.follow(loaded.model.model)
        self._folder = loaded.folder
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._info = ProverInfo(
            settings.named_model,
            loaded.version,
            "transformers",
            loaded.model.max_tokens,
            note,
            dtype_of(settings),
            computed_per_needed=loaded.model.overhead,
        )
        # torch counts threads for each calling thread, so the worker sets its own.
        self._worker = ThreadPoolExecutor(
            1, "mrt-reward-prover", initializer=lambda: torch.set_num_threads(num_threads) if num_threads else None
        )
        self._closing = Event()

    @property
    def info(self) -> ProverInfo:
        """Current identity."""
        return self._info

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own."""
        return self._tokenizer

    @property
    def network(self) -> torch.nn.Module:
        """The model itself, as it was loaded; not to be called while a proof runs."""
        return self._model.model

    @property
    def num_slots(self) -> int:
        """One that runs, and one that waits, so that the one worker never does."""
        return 2

    @property
    def silent_s(self) -> float | None:
        """Seconds since the last pass or layer of the proof under way; None while idle."""
        return self._pulse.silent_s

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof.

        Cancelling is noticed between passes of at most `PREFILL_CHUNK` tokens, or after a decoding step.

        Raises:
            ProverError: it failed; `ProverUnavailable` if the prover was closed.

        """
        left = Event()
        try:
            work = asyncio.get_running_loop().run_in_executor(self._worker, self._prove, proof, left)
        except RuntimeError as error:
            raise ProverUnavailable("the prover was closed") from error
        try:
            return await work
        except _Left as error:
            raise ProverUnavailable("the prover was closed while it worked") from error
        finally:
            left.set()

    async def check(self) -> None:
        """Generate one token.

        Raises:
            ProverUnavailable: it could not.

        """
        query = RolloutQuery(num_samples=1, temperature=0.0, top_p=1.0, max_tokens=1, stop_at_close=False)
        try:
            await self.prove(Proof(np.zeros(1, np.int32), (Probe(1, (0,)),), query))
        except ProverUnavailable:
            raise
        except ProverError as error:
            raise ProverUnavailable(f"the prover cannot generate: {error}") from error

    async def load_weights(self, folder: Path, kind: WeightsKind) -> None:
        """Load a checkpoint beside the one that serves, and change over between two proofs.

        Raises:
            WeightsError: it does not fit or does not answer; the old one serves on.
            WeightsUnsupported: it is an adapter.

        """
        if kind == "lora":
            raise WeightsUnsupported(
                "engine 'transformers' takes no LoRA adapters: merge it into a checkpoint, or serve with --engine vllm"
            )
        await asyncio.to_thread(refuse_other_model, self._folder, folder)
        other = {"model": str(folder), "revision": None}
        try:
            loaded = await asyncio.to_thread(load, self._settings.model_copy(update=other))
        except ConfigError as error:
            raise WeightsError(
                f"these weights cannot be loaded, the old ones serve on: {error}", param="path"
            ) from error
        self._pulse.follow(loaded.model.model)
        old = self._model, self._info, self._folder
        new = loaded.model, replace(self._info, model=str(folder), version=loaded.version), folder
        await self._change_over(new)
        try:
            await self.check()
        except ProverUnavailable as error:
            await self._change_over(old)
            raise WeightsError(f"these weights do not answer, the old ones serve on: {error}", param="path") from error

    async def _change_over(self, weights: tuple[ProvedModel, ProverInfo, Path]) -> None:
        """Take these weights, in the worker's own thread, so that no proof is under way."""

        def change() -> None:
            self._model, self._info, self._folder = weights

        await asyncio.get_running_loop().run_in_executor(self._worker, change)

    async def close(self) -> None:
        """Stop what runs, and release the worker."""
        self._closing.set()
        # What waits for the worker is not cancelled: it finds the prover closing, and says so to its caller.
        await asyncio.to_thread(self._worker.shutdown)

    def _prove(self, proof: Proof, left: Event) -> Proven:
        """Answer a proof, in the worker's thread."""

        def pause() -> None:
            self._pulse.beat()
            if left.is_set() or self._closing.is_set():
                raise _Left

        self._pulse.begin()
        try:
            pause()
            answers, num_tokens = self._model.prove(proof, pause)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise _out_of_memory(proof, error) from error
        except RuntimeError as error:
            # A CPU that runs out of memory says so in words only.
            if "alloc" in str(error) and "memory" in str(error):
                raise _out_of_memory(proof, error) from error
            raise ProverError(f"the engine failed on this trace: {error}") from error
        finally:
            self._pulse.end()
        return Proven(answers, self._info.version, num_tokens)


def _out_of_memory(proof: Proof, error: BaseException) -> ProverError:
    return ProverError(
        f"out of memory on a trace of {len(proof.token_ids)} tokens and {len(proof.probes)} probes: shorten it, set "
        f"max_model_len, or use a device with more memory ({error})",
        code="out_of_memory",
    )
