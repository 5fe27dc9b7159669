"""The whole service in a process of a trainer: the contract of `mrt-reward serve`.

    response → TraceScorer → the routes of the server → Scorer → prover

The prover is any that the settings name, or the policy itself, as it is at each step; then nothing listens. Or it is
the engines that the trainer runs for its policy, asked by a service that the trainer's other processes reach.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import structlog
from pydantic import SecretStr

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, translated
from mrt_reward.protocols import Prover, ProverInfo, WeightsCanary
from mrt_reward.server.app import create_app
from mrt_reward.server.connections import Server, bounded_server, quiet_troubles
from mrt_reward.server.listening import connection_limits, listening
from mrt_reward.server.telemetry import configure_logs
from mrt_reward.service.scorer import Scorer
from mrt_reward.training.alignment import PolicyTokens
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from mrt_reward.training.scoring import TraceScorer
from mrt_reward.training.settings import BY_POOL, TrainingSettings
from mrt_reward.training.vouching import canary_tokens, vouched
from mrt_reward.wiring import build_policy_prover, build_scorer, build_trainer_engines

if TYPE_CHECKING:
    from mrt_reward.provers.openai.engines import TrainerEngines

HERE = "http://127.0.0.1"
"""What requests say whom they are for; it leads nowhere."""

OF_OTHERS = (
    "model", "engine", "engine_url", "engine_api_key", "engine_version", "tokenizer", "dtype", "device", "revision",
    "trust_remote_code", "tensor_parallel_size", "gpu_memory_utilization", "engine_args", "cache_path", "cache_url",
    "weights_root",
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
        where: path of these settings in the framework's configuration, for messages.

    Attributes:
        tokens: reads the policy's tokens.

    Raises:
        ConfigError: the policy cannot prove, or a setting of the service contradicts that it does.

    """

    def __init__(self, policy: Any, tokenizer: Any, settings: TrainingSettings, where: str) -> None:  # noqa: ANN401
        self._settings = settings
        self._serving = _serving(settings.urls[0], where)
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


def policy_canary(policy: Any, tokenizer: Any, dtype: str | None = None) -> WeightsCanary | None:  # noqa: ANN401
    """What a policy says of its weights of now, for servers that take them from disk; see `training.following`.

    It takes one plain forward, so that every process that holds a shard of the policy must call it.

    Args:
        policy: a causal language model of transformers, in whatever wrapper its trainer calls.
        tokenizer: the policy's, of transformers.
        dtype: precision of the forward, where it is not that of the weights.

    """
    import torch  # noqa: PLC0415 - an optional extra

    from mrt_reward.provers.hf.lending import evaluating  # noqa: PLC0415 - likewise

    tokens = canary_tokens(lambda text: tokenizer.encode(text, add_special_tokens=False))
    weights = next(policy.parameters())
    ids = torch.tensor([tokens.ids], device=weights.device)
    with evaluating(policy), torch.no_grad():
        logits = policy(input_ids=ids).logits[0, len(tokens.prompt_ids) - 1 : -1]
    reported = logits.float().log_softmax(-1).gather(1, ids[0, len(tokens.prompt_ids) :, None])
    return vouched(tokens, float(reported.sum()), dtype or str(weights.dtype))


class EnginesService:
    """Scores by the engines that a trainer runs for its policy, and listens for the trainer's other processes.

    It belongs to the event loop that it was started in.

    Args:
        engines: their addresses (`engine_url`), the policy's `tokenizer`, and what is known of their weights. Graders,
            threads and memory are those of the `MRT_REWARD_…` variables, as for a server.
        host: address to listen on.
        url: what the user set it to, for messages, and `where` they did so.

    Attributes:
        key: that callers must send; made anew for each service.

    Raises:
        ConfigError: a setting of the service contradicts that the engines prove.

    """

    def __init__(self, engines: EngineSettings, host: str, url: object, where: str) -> None:
        self.key = secrets.token_urlsafe(32)
        given = engines.model_dump(exclude_unset=True)
        own = {**given, "engine": "openai", "host": host, "api_key": SecretStr(self.key), "no_key": False}
        self._serving = _serving(url, where).model_copy(update=own)
        self._prover: TrainerEngines | None = None
        self._open: tuple[asyncio.Task[None], socket.socket, Scorer] | None = None

    async def start(self, version: str, *, likelihood: bool) -> tuple[str, ProverInfo]:
        """Where it listens, and who proves.

        Args:
            version: of the weights that the engines have now.
            likelihood: whether they will be asked for likelihoods.

        Raises:
            ProverError: they cannot prove; `ProverUnavailable` where none answers.
            ConfigError: they cannot be used, or there is no port.

        """
        if not structlog.is_configured():
            configure_logs(self._serving.log_format, logging.WARNING)
        self._prover = build_trainer_engines(self._serving, version)
        info = await self._prover.begin(likelihood=likelihood)
        sock = listening(self._serving.host, 0, "host")
        service = build_scorer(self._serving, self._prover)
        server = bounded_server(create_app(service, self._serving), connection_limits(self._serving)[0])
        self._open = asyncio.create_task(_served(server, sock)), sock, service
        host, port = sock.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", info

    async def pause(self) -> None:
        """Ask the engines nothing, until `resume`; what was being asked is given up before this returns."""
        if self._prover is not None:
            await self._prover.pause()

    async def resume(self, version: str) -> None:
        """Ask them again, of these weights."""
        if self._prover is not None:
            await self._prover.resume(version)

    async def close(self) -> None:
        """Listen no more, even where nobody was listened to yet."""
        opened, self._open = self._open, None
        if opened is not None:
            task, sock, service = opened
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            sock.close()
            await service.close()


async def _served(server: Server, sock: socket.socket) -> None:
    with quiet_troubles(asyncio.get_running_loop()):
        await server.serve(sockets=[sock])


def _serving(url: object, where: str) -> ServeSettings:
    """The service's settings, from the environment and its file.

    Raises:
        ConfigError: one says who else proves.

    """
    serving = load_settings()
    who = "engines that the trainer starts" if url == BY_POOL else "the policy itself"
    for name in OF_OTHERS:
        if name in serving.model_fields_set:
            raise ConfigError(
                f"{where}.url={url} proves with {who}, and {name} is set, by MRT_REWARD_{name.upper()} or "
                f"the file of MRT_REWARD_CONFIG: leave it out, or start a server with it and set {where}.url to that",
                param=f"{where}.url",
            )
    return serving
