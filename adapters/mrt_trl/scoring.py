"""Who scores a trainer's completions: servers, the policy that it trains, or the vLLM server that writes for it."""

from __future__ import annotations

import asyncio
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from tempfile import mkdtemp
from typing import Any

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, MRTRewardError
from mrt_reward.in_process import EnginesService, PolicyScorer
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import BatchScorer, TraceScorer
from mrt_reward.training.settings import BY_ROLLOUT, TrainingSettings
from mrt_trl.checks import WHERE

HERE = "127.0.0.1"


class EngineScorer:
    """Scores by the server that TRL generates with, asked by a service in this process.

    TRL gives the server its weights before it generates, and waits for scores before it trains: so nothing is asked
    while they change, and the step says which they are.

    Args:
        url: of that server.
        tokenizer: the policy's, of transformers.
        settings: how responses are scored.

    Attributes:
        tokens: reads the policy's tokens.

    """

    def __init__(self, url: str, tokenizer: Any, settings: TrainingSettings) -> None:  # noqa: ANN401 - of transformers
        folder = mkdtemp(prefix="mrt-tokenizer-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        tokenizer.save_pretrained(folder)
        self.tokens = PolicyTokens.of(tokenizer, folder)
        self._engines = EngineSettings(engine="openai", engine_url=url, tokenizer=folder)
        self._settings = settings
        self._made: tuple[EnginesService, TraceScorer] | None = None
        self._version = ""

    async def begin(self, version: str) -> tuple[EnginesService, TraceScorer]:
        """A service over the server, and what asks it; `close` ends both.

        Raises:
            ProverError: it cannot; `ProverUnavailable` where it does not answer.
            ConfigError: a setting of the service contradicts it.

        """
        service = EnginesService(self._engines, HERE, BY_ROLLOUT, WHERE)
        likelihood = self._settings.estimator == "likelihood" or self._settings.likelihood_prior
        url, _ = await service.start(version, likelihood=likelihood)
        scorer = TraceScorer(replace(self._settings, url=url), self.tokens, api_key=service.key)
        self._made, self._version = (service, scorer), version
        return self._made

    async def score_all(self, responses: Sequence[Response]) -> list[Record]:
        """Score the responses of one step, while TRL trains on nothing."""
        if not responses:
            return []
        version = str(max(response.step for response in responses))
        service, scorer = self._made or await self.begin(version)
        if version != self._version:
            self._version = version
            await service.resume(version)
        return await scorer.score_all(responses)

    async def close(self) -> None:
        """End the service; the next call begins it anew."""
        made, self._made = self._made, None
        if made is not None:
            await made[1].close()
            await made[0].close()


def scorer_of(trainer: Any, settings: TrainingSettings) -> BatchScorer:  # noqa: ANN401 - a trainer of transformers
    """What scores for a trainer; a policy that proves itself is seen to prove rightly.

    Args:
        trainer: made, and not started.
        settings: for `url`, and how responses are scored.

    Raises:
        ConfigError: the policy cannot prove; says what to use instead.

    """
    tokenizer: Any = getattr(trainer.processing_class, "tokenizer", trainer.processing_class)
    if settings.by_rollout:
        return _engine_scorer(trainer.args, tokenizer, settings)
    if not settings.by_policy:
        return TraceScorer(settings, PolicyTokens.of(tokenizer, tokenizer.name_or_path))
    if why := _sharded(trainer):
        raise ConfigError(
            f"{WHERE}.url=policy needs the policy's whole weights in each process, and {why} shards them: start "
            f"`mrt-reward serve` and set {WHERE}.url to it, with {WHERE}.follow_steps where it is to follow the policy",
            param=f"{WHERE}.url",
        )
    return PolicyScorer(trainer.accelerator.unwrap_model(trainer.model), tokenizer, settings, WHERE)


def _engine_scorer(args: Any, tokenizer: Any, settings: TrainingSettings) -> EngineScorer:  # noqa: ANN401 - TRL's
    """One whose server was seen to prove, with the weights that it has before the first step."""
    url: str = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"

    made = EngineScorer(url, tokenizer, settings)

    async def tried() -> None:
        await made.begin("start")
        await made.close()

    try:
        asyncio.run(tried())
    except MRTRewardError as error:
        raise ConfigError(
            f"{WHERE}.url=rollout: the server that TRL generates with ({url}) cannot prove: {error}",
            param=f"{WHERE}.url",
        ) from error
    print(f"[mrt] TRL's vLLM server at {url} proves, with the weights of each step")  # noqa: T201 - as trainers do
    return made


def _sharded(trainer: Any) -> str:  # noqa: ANN401 - a trainer of transformers
    """What will shard the policy's weights once training starts; empty where nothing does."""
    if trainer.is_fsdp_enabled:
        return "FSDP"
    if trainer.is_deepspeed_enabled:
        zero: dict[str, Any] = trainer.accelerator.state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        return "DeepSpeed's ZeRO-3" if zero.get("stage") == 3 else ""
    return ""
