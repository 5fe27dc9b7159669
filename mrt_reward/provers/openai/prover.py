"""An engine that somebody else runs: servers of OpenAI's completions protocol (vLLM, llama.cpp), or of SGLang's own.

Token ids go in, all probes of a trace in as few requests as the server takes, under one session for each trace, so that
a router that knows sessions keeps the trace where its prefix is cached. Of several endpoints, a trace goes to one
(`Fleet`). What a server can do is found out once (`Connector`). The model's tokenizer is loaded here.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from mrt_reward.backoff import Backoff
from mrt_reward.engine_settings import EngineSettings, origin_of
from mrt_reward.errors import ConfigError, MRTRewardError, ProverError, ProverUnavailable
from mrt_reward.protocols import (
    EndpointState,
    LikelihoodQuery,
    PrefixHits,
    ProbeAnswer,
    Proof,
    Proven,
    ProverInfo,
    Query,
    RolloutQuery,
    Tokenizer,
)
from mrt_reward.provers.openai.connecting import Connection, Connector
from mrt_reward.provers.openai.endpoint import MAX_IN_FLIGHT, Endpoint
from mrt_reward.provers.openai.engine_metrics import prefix_cache_of
from mrt_reward.provers.openai.fleet import Fleet
from mrt_reward.provers.openai.one_endpoint import OneEndpoint
from mrt_reward.provers.openai.rollouts import AnswerSampler
from mrt_reward.provers.tokenizer import HFTokenizer

UNKNOWN_VERSION = "unknown"
"""Until an endpoint was asked for the first time."""


class OpenAIProver:
    """A `Prover` over an endpoint, or over several that serve one model.

    Rollouts come from any server. Likelihood comes from servers that return the probability of a given token: vLLM and
    SGLang's own protocol (the same sum as the embedded engines), and servers with `echo` and `logprobs` (one closing
    token only); others are refused with code `unsupported_query`. Where the server does not return the ids of sampled
    tokens, their text is encoded again, which changes nothing that is graded.

    Sampling is seeded, once a request (`Completer`): unlike an embedded engine's, a prefix's answers depend on the
    longest prefix that was asked about together with it. Coupled answers have one seed anyway; they are taken where the
    endpoint's seed was seen to couple (`coupling`), and refused elsewhere, with code `unsupported_query`. vLLM 0.32 on
    a CPU dies of a seeded request whose prompt it works through in parts: start it with `--no-enable-chunked-prefill`.
    On a GPU it does not.

    Args:
        settings: `engine_url`, such as `http://127.0.0.1:8000`, with or without `/v1`, or several; `tokenizer`, the
            model's own, which is `model` where it is not named; `model`, the name that the endpoint serves it under,
            None where it serves one alone; `engine_dialect`, `engine_api_key`, `engine_version`, and `max_model_len`,
            where `/v1/models` does not say it, or to use less of it.
        timeout_s: longest time for one reply.
        backoff: when to ask again.
        shared: others ask the endpoints too, so much that a question may wait for minutes, as a trainer's own engines
            are asked: then no silence leaves one of several out.
        transport: for tests, `httpx.ASGITransport`.

    Raises:
        ConfigError: a URL is invalid or there twice, the tokenizer cannot be loaded, or either is missing.

    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        timeout_s: float = 600.0,
        backoff: Backoff | None = None,
        shared: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        urls, tokenizer, key = settings.engine_urls, settings.tokenizer or settings.model, settings.engine_api_key
        if not urls or not tokenizer:
            missing = "tokenizer" if urls else "engine_url"
            raise ConfigError(
                "engine 'openai' needs settings engine_url (the endpoint) and tokenizer (a folder or hub name of the "
                f"model that it serves), {missing} is missing",
                param=missing,
            )
        backoff = backoff or Backoff()
        endpoints = [
            Endpoint(
                url,
                api_key=None if key is None else key.get_secret_value(),
                timeout_s=timeout_s,
                backoff=backoff,
                alone=len(urls) == 1,
                transport=transport,
            )
            for url in urls
        ]
        self._tokenizer = HFTokenizer(tokenizer)
        self._settings = settings
        self._servers = endpoints
        connectors = [Connector(endpoint, settings, self._tokenizer) for endpoint in endpoints]
        self._endpoints = (
            OneEndpoint(connectors[0], self._tokenizer, backoff)
            if len(connectors) == 1
            else Fleet(connectors, self._tokenizer, settings.dtype, backoff, shared=shared)
        )

    @property
    def info(self) -> ProverInfo:
        """Current identity; its version is `UNKNOWN_VERSION` until an endpoint was asked for the first time."""
        if (info := self._endpoints.info) is not None:
            return info
        named = self._settings.model or ", ".join(map(origin_of, self._settings.engine_urls))
        return ProverInfo(named, UNKNOWN_VERSION, "openai", self._settings.max_model_len or 0, coupled="unknown")

    @property
    def endpoints(self) -> Sequence[EndpointState]:
        """What became of each endpoint."""
        return self._endpoints.states

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own, loaded here."""
        return self._tokenizer

    @property
    def num_slots(self) -> int:
        """As many traces as requests may be in flight; the servers batch."""
        return MAX_IN_FLIGHT * len(self._settings.engine_urls)

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof. Cancelling the call closes its requests, on which servers stop their work.

        Raises:
            ProverError: it failed; `ProverUnavailable` if no server answered, and trying again may help.

        """
        try:
            info = await self._endpoints.connected()
        except ProverUnavailable:
            raise
        except MRTRewardError as error:
            raise ProverError(str(error), code=error.code, param=error.param) from error
        proof.check_fits(info.max_tokens, runs_close=True)
        _refuse_uncoupled(proof.query, info)

        async def ask(connection: Connection) -> Proven:
            answers, num_tokens = await self._answers(proof, connection, info.max_tokens)
            return Proven(answers, connection.info.version, num_tokens)

        return await self._endpoints.asked(proof.session, ask)

    async def check(self) -> None:
        """Read the identity of each endpoint that is up again, and let it generate one token.

        Raises:
            ProverUnavailable: no endpoint could.
            ConfigError: one serves no such model, two serve different ones, or a setting is missing.

        """
        await self._endpoints.check()

    async def prefix_cache(self) -> PrefixHits | None:
        """What the endpoints report of their caches, which whoever else asks them fills as well."""
        return await prefix_cache_of(self._servers)

    async def moved(self) -> ProverInfo:
        """Who proves, after the weights of all endpoints were changed together, whether they tell so or not.

        Raises:
            ProverUnavailable: no endpoint answers.
            ConfigError: two serve different models.

        """
        await self._endpoints.moved()
        return self.info

    async def close(self) -> None:
        """Close connections."""
        await self._endpoints.close()

    async def _answers(
        self, proof: Proof, connection: Connection, max_tokens: int
    ) -> tuple[tuple[ProbeAnswer, ...], int]:
        speaker = connection.speaker
        if isinstance(proof.query, LikelihoodQuery):
            logprob_PS, num_tokens = await speaker.likelihoods(proof, proof.query, proof.session)
            return tuple(ProbeAnswer(spelling_logprobs=tuple(row)) for row in logprob_PS.tolist()), num_tokens
        return await AnswerSampler(speaker, self._tokenizer, max_tokens).answers(proof, proof.query)


def _refuse_uncoupled(query: Query, info: ProverInfo) -> None:
    if isinstance(query, RolloutQuery) and query.coupled and query.temperature > 0 and info.coupled != "endpoint":
        raise ProverError(
            "this endpoint's `seed` does not give answers of two prefixes the same noise (it was tried: the server's "
            "log says how they agreed), which coupled answers need: leave estimator.coupled out, or use engine 'vllm' "
            "or 'transformers', or an endpoint that seeds each answer's own tokens, such as vLLM's V1 runner",
            code="unsupported_query",
            param="options.estimator.coupled",
        )
