"""The production engine: vLLM, asked with token ids, scheduled trace by trace, sharing prefixes through its own cache.

A trace is computed first, whole or from cut to cut; its probes then find their prefixes in the cache, and the trace
gives its blocks back. So many traces are in flight as fit 0.8 of the cache, which keeps every prefix there until it was
used.

Dimension key: P probes of a trace · S spellings · M sampled answers.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import MRTRewardError, ProverUnavailable, WeightsError
from mrt_reward.protocols import PrefixHits, Proof, Proven, ProverInfo, Tokenizer, WeightsCanary, WeightsKind
from mrt_reward.provers.checkpoints import refuse_other_model, resolve_folder
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.provers.vllm.engine import Engine, refuse_arguments
from mrt_reward.provers.vllm.probes import blocks_needed
from mrt_reward.provers.vllm.schedule import ReadWriteLock
from mrt_reward.provers.vllm.serving import Serving, start, with_adapter

MAX_TRACES = 256
"""Traces in flight, whatever the cache holds."""

WATCH_S = 0.1

logger = structlog.stdlib.get_logger(__name__)


class VLLMProver:
    """A `Prover` over vLLM's AsyncLLM, whose engine is a process of its own.

    Args:
        settings: model, dtype ("auto" is float32 on a CPU, where bfloat16 is slower and less exact, and bfloat16 on a
            GPU), longest context, revision, and what else is for vllm. Hub names respect `HF_HUB_OFFLINE`.
        note: a caveat for whoever reads the values.

    Raises:
        ConfigError: the engine does not start.

    """

    def __init__(self, settings: EngineSettings, *, note: str = "") -> None:
        refuse_arguments(settings.engine_args)
        # New weights are compared with these: what was loaded since may be deleted once it is served.
        self._first_folder = folder = resolve_folder(settings.named_model, settings.revision)
        self._tokenizer = HFTokenizer(folder, trust_remote_code=settings.trust_remote_code)
        self._note = note
        self._read_write_lock = ReadWriteLock()
        self._loading = False
        self._dead: ProverUnavailable | None = None
        self._serving = start(settings, folder, self._tokenizer, note)

    @property
    def info(self) -> ProverInfo:
        """Name, version and limits of the model that proves now."""
        return replace(self._serving.info, computed_per_needed=self._serving.self_check.overhead)

    @property
    def tokenizer(self) -> Tokenizer:
        """Tokenizer of the model."""
        return self._tokenizer

    @property
    def num_slots(self) -> int:
        """Traces in flight at most; the cache's blocks say how many of them run."""
        return MAX_TRACES

    @property
    def engine(self) -> Engine:
        """What runs at present."""
        return self._serving.engine

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof. Cancelling it aborts what it asked of the engine.

        Raises:
            ProverError: it failed; `ProverUnavailable` if the engine is dead.

        """
        async with self._read_write_lock.passing():
            serving = self._serving
            self._refuse_if_dead()
            proof.check_fits(serving.engine.max_model_len, serving.engine.vocab_size, runs_close=True)
            await serving.self_check.passed()
            async with serving.budget.lent(blocks_needed(proof, serving.engine)):
                answers, num_tokens = await serving.runner.prove(proof)
            return Proven(answers, serving.info.version, num_tokens)

    async def prefix_cache(self) -> PrefixHits | None:
        """Of the engine that runs at present."""
        return PrefixHits(self.engine.num_asked, self.engine.num_hit)

    async def check(self) -> None:
        """Generate one token.

        Raises:
            ProverUnavailable: the engine is dead, or loads weights.

        """
        if self._loading:
            raise ProverUnavailable("new weights are being loaded: try again", code="loading_weights")
        async with self._read_write_lock.passing():
            self._refuse_if_dead()
            await self._serving.check()

    async def wait_dead(self) -> ProverUnavailable:
        """Return why, once the engine's process ended on its own."""
        while self._dead is None:
            # Loading weights stops one engine and starts another.
            if self._serving.engine.dead and not self._loading:
                self._dead = Engine.death()
            else:
                await asyncio.sleep(WATCH_S)  # vLLM tells it by a flag alone
        return self._dead

    async def close(self) -> None:
        """End the engine's process."""
        await asyncio.to_thread(self._serving.engine.stop)

    async def load_weights(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> None:
        """Serve other weights. A checkpoint restarts the engine on its folder; an adapter is added to the running one.

        Raises:
            WeightsError: they do not fit, or do not answer; the old ones serve on.
            ProverUnavailable: neither the new ones nor the old ones serve.

        """
        if kind == "lora":
            self._serving = await with_adapter(self._serving, folder, canary)
        else:
            await self._load_checkpoint(folder, canary)

    def _refuse_if_dead(self) -> None:
        if self._dead is not None:
            raise self._dead
        if self._serving.engine.dead:
            raise Engine.death()

    async def _load_checkpoint(self, folder: Path, canary: WeightsCanary | None) -> None:
        old = self._serving
        new = old.engine.settings.model_copy(update={"model": str(folder)})
        await asyncio.to_thread(refuse_other_model, self._first_folder, folder)
        self._loading = True
        try:
            async with self._read_write_lock.closed():
                await asyncio.to_thread(old.engine.stop)
                try:
                    self._serving = await self._started(new, folder, canary)
                except MRTRewardError as error:
                    logger.exception("weights_failed", path=str(folder))
                    await self._restore(old)
                    raise WeightsError(
                        f"the engine does not serve these weights, the old ones serve on: {error}",
                        code=error.code if isinstance(error, WeightsError) else None,
                        param=error.param or "path",
                    ) from error
        finally:
            self._loading = False

    async def _restore(self, old: Serving) -> None:
        try:
            restored = await self._started(old.engine.settings, old.folder)
            self._serving = restored if old.adapter is None else await with_adapter(restored, old.adapter)
        except MRTRewardError as error:
            self._dead = ProverUnavailable(
                f"neither the new weights nor the old ones serve: {error}", code="engine_dead"
            )
            raise self._dead from error

    async def _started(self, settings: EngineSettings, folder: Path, canary: WeightsCanary | None = None) -> Serving:
        serving = await asyncio.to_thread(start, settings, folder, self._tokenizer, self._note)
        try:
            await serving.check()
            if canary is not None:
                await serving.refuse_others(canary)
        except MRTRewardError:
            await asyncio.to_thread(serving.engine.stop)
            raise
        return serving
