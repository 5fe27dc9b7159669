"""The whole service in the process of a trainer: the contract of `mrt-reward serve`, and nothing listens.

    response → TraceScorer → the routes of the server → Scorer → prover

The prover is any that the settings name, or the policy itself, as it is at each step.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import structlog

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import ConfigError, translated
from mrt_reward.protocols import Prover
from mrt_reward.server.app import create_app
from mrt_reward.server.telemetry import configure_logs
from mrt_reward.service.scorer import Scorer
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import TraceScorer
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.wiring import build_policy_prover, build_scorer

HERE = "http://127.0.0.1"
"""What requests say whom they are for; it leads nowhere."""

OF_OTHERS = (
    "model", "engine", "engine_url", "engine_api_key", "engine_version", "tokenizer", "dtype", "device", "revision",
    "trust_remote_code", "tensor_parallel_size", "gpu_memory_utilization", "engine_args", "cache_path", "weights_root",
)  # fmt: skip
"""Settings of the server that say who else proves, or keep what holds for one step only."""


def scorer_and_service(
    settings: TrainingSettings, tokens: PolicyTokens, serving: ServeSettings, prover: Prover | None = None
) -> tuple[TraceScorer, Scorer]:
    """A scorer of responses, and the service that it asks, which is here.

    Both belong to one event loop; closing the scorer leaves the service open.

    Args:
        settings: how responses are scored.
        tokens: reads the policy's tokens.
        serving: what the service is made of.
        prover: one that is there already; None builds the one that `serving` names.

    Raises:
        ConfigError: a setting names something that cannot be built.

    """
    if not structlog.is_configured():
        # A trainer's output is no server's log.
        configure_logs(serving.log_format, logging.WARNING)
    open_here = serving.model_copy(update={"api_key": None, "host": "127.0.0.1"})
    service = build_scorer(open_here, prover)
    transport = httpx.ASGITransport(create_app(service, open_here))
    return TraceScorer(replace(settings, url=HERE), tokens, transport=transport), service


class PolicyScorer:
    """Scores responses by the policy that gave them, in the process that trains it.

    It is made in any thread. What it scores with belongs to the event loop of the first call, until `close`.

    Args:
        policy: a causal language model of transformers, all of it in this process.
        tokenizer: the policy's, of transformers.
        settings: how responses are scored. Graders, threads and memory are those of the `MRT_REWARD_…` variables, as
            for a server.
        where: place of these settings in the framework's configuration, for messages.

    Attributes:
        tokens: reads the policy's tokens.

    Raises:
        ConfigError: the policy cannot prove, or a setting of the service contradicts that it does.

    """

    def __init__(self, policy: Any, tokenizer: Any, settings: TrainingSettings, where: str) -> None:  # noqa: ANN401
        self._settings = settings
        self._serving = _serving(where)
        with tempfile.TemporaryDirectory() as folder:
            with translated(lambda error: ConfigError(f"the policy's tokenizer cannot be written as files: {error}")):
                tokenizer.save_pretrained(folder)
            self.tokens = PolicyTokens.of(tokenizer, folder)
            self._prover = build_policy_prover(policy, Path(folder), self._serving)
        self._made: tuple[TraceScorer, Scorer] | None = None
        info = self._prover.info
        print(f"[mrt] the policy itself proves, in {info.dtype}, at each step with the weights of that step")  # noqa: T201 - as trainers do

    async def score_all(self, responses: Sequence[Response]) -> list[Record]:
        """Score the responses of one step, while nobody else uses the policy.

        Its modes are given back before this returns. What is known of another step is forgotten.
        """
        if not responses:
            return []
        if self._made is None:
            self._made = scorer_and_service(self._settings, self.tokens, self._serving, self._prover)
        scorer, service = self._made
        await service.cache.clear()
        with self._prover.proving(max(response.step for response in responses)):
            return await scorer.score_all(responses)

    async def close(self) -> None:
        """End graders and what else was begun; the next call begins it anew."""
        made, self._made = self._made, None
        if made is not None:
            await made[0].close()
            await made[1].close()


def _serving(where: str) -> ServeSettings:
    """The service's settings, from the environment and its file.

    Raises:
        ConfigError: one says who else proves.

    """
    serving = load_settings()
    for name in OF_OTHERS:
        if name in serving.model_fields_set:
            raise ConfigError(
                f"{where}.url=policy proves with the policy itself, and {name} is set, by MRT_REWARD_{name.upper()} or "
                f"the file of MRT_REWARD_CONFIG: leave it out, or start a server with it and set {where}.url to that",
                param=f"{where}.url",
            )
    return serving
