"""Which weights serve, and on what: an engine, what it may hold at once, and who asks it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from vllm.lora.request import LoRARequest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverError, ProverUnavailable, WeightsError, WeightsUnsupported
from mrt_reward.protocols import ProverInfo, WeightsCanary
from mrt_reward.provers.checkpoints import end_ids, read_adapter, weights_version
from mrt_reward.provers.stops import Stops
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.provers.vllm.engine import Engine
from mrt_reward.provers.vllm.probes import ProbeRunner
from mrt_reward.provers.vllm.schedule import BlockBudget
from mrt_reward.provers.vllm.selfcheck import SelfCheck

CACHE_SHARE = 0.8
"""Of the cache's blocks, what traces in flight may need; the rest is room for answers longer than planned."""


@dataclass(frozen=True, slots=True)
class Serving:
    """One version of the weights, being served.

    Attributes:
        engine: runs the checkpoint.
        budget: of its cache.
        stops: what ends an answer.
        runner: runs probes on this version.
        self_check: of the engine.
        info: identity; its version names checkpoint and adapter.
        base: version of the checkpoint alone.
        num_adapters: loaded so far; vLLM numbers them.
        adapter: folder of the one that serves; None is the plain checkpoint.

    """

    engine: Engine
    budget: BlockBudget
    stops: Stops
    runner: ProbeRunner
    self_check: SelfCheck
    info: ProverInfo
    base: str
    num_adapters: int = 0
    adapter: Path | None = None

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint."""
        return self.engine.folder

    async def check(self) -> None:
        """Generate one token, from an engine whose answers are right.

        Raises:
            ProverUnavailable: the engine does not answer.

        """
        try:
            await self.self_check.passed()
            await self.runner.generate_token()
        except ProverUnavailable:
            raise
        except ProverError as error:
            raise ProverUnavailable(f"the prover cannot generate: {error}") from error

    async def refuse_others(self, canary: WeightsCanary) -> None:
        """See that these are the weights that their sender has.

        Raises:
            WeightsError: they are not.
            ProverError: the canary could not be answered.

        """
        canary.check_fits(self.engine.max_model_len, self.engine.vocab_size)
        answers, _ = await self.runner.prove(canary.proof)
        canary.refuse_others(answers, self.info.dtype)


def start(settings: EngineSettings, folder: Path, tokenizer: HFTokenizer, note: str) -> Serving:
    """Start an engine on a checkpoint, the model that the settings name. It takes tens of seconds, and blocks.

    Raises:
        ConfigError: it does not start.

    """
    engine = Engine(settings, folder, tokenizer.braces)
    version = weights_version(folder)
    stops = Stops(end_ids(folder, tokenizer.end_id), tokenizer.braces)
    runner = ProbeRunner(engine, stops, version)
    return Serving(
        engine,
        BlockBudget(max(1, int(CACHE_SHARE * engine.num_blocks))),
        stops,
        runner,
        SelfCheck(runner, engine, tokenizer, version),
        ProverInfo(settings.named_model, version, "vllm", engine.max_model_len, note, engine.dtype, "exact"),
        version,
    )


async def with_adapter(serving: Serving, folder: Path, canary: WeightsCanary | None = None) -> Serving:
    """The same engine and checkpoint with a LoRA adapter, which has generated a token.

    Raises:
        WeightsUnsupported: the engine was started without adapters.
        WeightsError: this one does not fit, does not answer, or not as its sender says.
        ProverUnavailable: the engine is dead.

    """
    max_rank = serving.engine.max_lora_rank
    if max_rank is None:
        raise WeightsUnsupported(
            "the engine takes no LoRA adapters: start the server with --engine-arg enable_lora=true --engine-arg "
            "max_lora_rank=RANK"
        )
    adapter = await asyncio.to_thread(read_adapter, folder, serving.folder, max_rank)
    version = f"{serving.base}+{adapter.version}"
    number = serving.num_adapters + 1
    request = LoRARequest(version, number, str(folder))
    runner = ProbeRunner(serving.engine, serving.stops, version, request, ways=serving.runner.ways)
    try:
        await serving.engine.add_adapter(request)
        await runner.generate_token()
        info = replace(serving.info, version=version)
        adapted = replace(serving, runner=runner, info=info, num_adapters=number, adapter=folder)
        if canary is not None:
            await adapted.refuse_others(canary)
    except ProverUnavailable:
        raise
    except ProverError as error:
        raise WeightsError(f"the adapter was not taken, the old weights serve on: {error}", param="path") from error
    return adapted
