"""An engine that somebody else runs: any server of OpenAI's completions protocol (vLLM, SGLang, llama.cpp).

Token ids go in, all probes of a trace in as few requests as the server takes, under one `X-Session-ID` for each trace,
so that a session-aware router keeps the trace where its prefix is cached. What the server can do is found out once
(`dialect`). The model's tokenizer is loaded here.

The version of the weights is what `/v1/models` says about them, and the operator's `engine_version`: weights that are
changed behind an endpoint without a new name or a new `engine_version` cannot be seen from here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from mrt_reward.backoff import Backoff
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, MRTRewardError, ProverError, ProverUnavailable, TraceError
from mrt_reward.protocols import (
    Coupling,
    LikelihoodQuery,
    ProbeAnswer,
    Proof,
    Proven,
    ProverInfo,
    Query,
    RolloutQuery,
    Tokenizer,
)
from mrt_reward.provers.openai.coupling import seed_couples
from mrt_reward.provers.openai.dialect import TOKENS_AS_IDS, Interview, LikelihoodWay
from mrt_reward.provers.openai.endpoint import MAX_IN_FLIGHT, Choice, Endpoint, ModelCard
from mrt_reward.provers.openai.likelihood import likelihoods
from mrt_reward.provers.openai.requests import Completer, Question, mean_logprob, sampled_ids
from mrt_reward.provers.stops import until_balanced
from mrt_reward.provers.together import together
from mrt_reward.provers.tokenizer import HFTokenizer

UNKNOWN_VERSION = "unknown"
"""Until the endpoint was asked for the first time."""

NOTES = {
    LikelihoodWay.TOKEN_IDS: "",
    LikelihoodWay.ECHO: "likelihood counts one closing token only, which makes its lower bound a little lower",
    LikelihoodWay.NONE: "no likelihood: this endpoint tells no probabilities of given tokens, so ask for rollouts",
}
"""What a reader of the values should know, by the endpoint's way."""


@dataclass(frozen=True, slots=True)
class _Connection:
    info: ProverInfo
    completer: Completer


class OpenAIProver:
    """A `Prover` over an endpoint.

    Rollouts come from any server. Likelihood comes from servers that tell the probability of a given token: vLLM (the
    same sum as the embedded engines), and servers with `echo` and `logprobs` such as SGLang (one closing token only);
    others are refused with code `unsupported_query`. Where the server does not tell the ids of sampled tokens, their
    text is encoded again, which changes nothing that is graded.

    Sampling is seeded, once a request (`Completer`): unlike an embedded engine's, a prefix's answers depend on the
    longest prefix that was asked about together with it. Coupled answers have one seed anyway; they are taken where the
    endpoint's seed was seen to couple (`coupling`), and refused elsewhere, with code `unsupported_query`. vLLM 0.32 on
    a CPU dies of a seeded request whose prompt it works through in parts: start it with `--no-enable-chunked-prefill`.
    On a GPU it does not.

    Args:
        settings: `engine_url`, such as `http://127.0.0.1:8000`, with or without `/v1`; `tokenizer`, the model's own,
            which is `model` where it is not named; `model`, the name that the endpoint serves it under, None where it
            serves one alone; `engine_api_key`, `engine_version`, and `max_model_len`, where `/v1/models` does not say
            it, or to use less of it.
        timeout_s: longest time for one reply.
        backoff: when to ask again.
        transport: for tests, `httpx.ASGITransport`.

    Raises:
        ConfigError: the URL is invalid, the tokenizer cannot be loaded, or either is missing.

    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        timeout_s: float = 600.0,
        backoff: Backoff | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        url, tokenizer, key = settings.engine_url, settings.tokenizer or settings.model, settings.engine_api_key
        if not url or not tokenizer:
            missing = "tokenizer" if url else "engine_url"
            raise ConfigError(
                "engine 'openai' needs settings engine_url (the endpoint) and tokenizer (a folder or hub name of the "
                f"model that it serves), {missing} is missing",
                param=missing,
            )
        self._endpoint = Endpoint(
            url,
            api_key=None if key is None else key.get_secret_value(),
            timeout_s=timeout_s,
            backoff=backoff,
            transport=transport,
        )
        self._tokenizer = HFTokenizer(tokenizer)
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None

    @property
    def info(self) -> ProverInfo:
        """Current identity; its version is `UNKNOWN_VERSION` until the endpoint was asked for the first time."""
        if self._connection is None:
            named = self._settings.model or self._endpoint.shown
            max_tokens = self._settings.max_model_len or 0
            return ProverInfo(named, UNKNOWN_VERSION, "openai", max_tokens, coupled="unknown")
        return self._connection.info

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own, loaded here."""
        return self._tokenizer

    @property
    def num_slots(self) -> int:
        """As many traces as requests may be in flight; the server batches."""
        return MAX_IN_FLIGHT

    async def prove(self, proof: Proof) -> Proven:
        """Answer a proof. Cancelling the call closes its requests, on which servers stop their work.

        Raises:
            ProverError: it failed; `ProverUnavailable` if the server did not answer, and trying again may help.

        """
        try:
            connection = self._connection or await self._connect()
        except ProverUnavailable:
            raise
        except MRTRewardError as error:
            raise ProverError(str(error), code=error.code, param=error.param) from error
        proof.check_fits(connection.info.max_tokens, runs_close=True)
        _refuse_uncoupled(proof.query, connection.info)
        session = hashlib.blake2b(proof.token_ids.astype("<i4").tobytes(), digest_size=16).hexdigest()
        if isinstance(proof.query, LikelihoodQuery):
            logprob_PS, num_tokens = await likelihoods(
                connection.completer, proof, proof.query, self._tokenizer, session
            )
            answers = tuple(ProbeAnswer(spelling_logprobs=tuple(logprobs)) for logprobs in logprob_PS.tolist())
        else:
            answers, num_tokens = await self._sampled(proof, proof.query, connection, session)
        return Proven(answers, connection.info.version, num_tokens)

    async def check(self) -> None:
        """Read the endpoint's identity again, and generate one token.

        Raises:
            ProverUnavailable: it could not.
            ConfigError: the endpoint serves no such model, or a setting is missing.

        """
        connection = await self._connect()
        prompt = self._tokenizer.encode_trusted("1 + 1 =").tolist()
        question = Question([prompt], None, 1, {"max_tokens": 1, "temperature": 0.0})
        try:
            await connection.completer.complete(question, "check")
        except ProverUnavailable:
            raise
        except ProverError as error:
            raise ProverUnavailable(f"the endpoint cannot generate: {error}") from error

    async def close(self) -> None:
        """Close connections."""
        await self._endpoint.close()

    async def _connect(self) -> _Connection:
        """Read the identity; at the first time, find out what the server can do."""
        async with self._connecting:
            try:
                card = self._chosen(await self._endpoint.models())
                max_tokens = self._max_tokens(card)
                known = self._connection if self._connection and self._connection.info.model == card.id else None
                completer, coupled = (known.completer, known.info.coupled) if known else await self._interview(card.id)
            except (ProverUnavailable, ConfigError):
                raise
            except ProverError as error:
                raise ProverUnavailable(f"the endpoint cannot be used: {error}") from error
            note = NOTES[completer.dialect.likelihood]
            info = ProverInfo(card.id, self._version(card), "openai", max_tokens, note, coupled=coupled)
            self._connection = _Connection(info, completer)
            return self._connection

    async def _interview(self, model: str) -> tuple[Completer, Coupling]:
        """What the server can do."""
        dialect = await Interview(self._endpoint, model, self._tokenizer).dialect()
        completer = Completer(self._endpoint, model, dialect)
        return completer, "endpoint" if await seed_couples(completer, self._tokenizer) else "none"

    def _chosen(self, cards: Sequence[ModelCard]) -> ModelCard:
        names, asked = ", ".join(card.id for card in cards) or "none", self._settings.model
        if asked is None:
            if len(cards) != 1:
                raise ConfigError(
                    f"{self._endpoint.shown} serves {len(cards)} models ({names}): name one with setting model",
                    param="model",
                )
            return cards[0]
        for card in cards:
            if card.id == asked:
                return card
        raise ConfigError(f"{self._endpoint.shown} serves no model {asked!r}, but {names}", param="model")

    def _max_tokens(self, card: ModelCard) -> int:
        asked = self._settings.max_model_len
        if card.max_tokens is None and asked is None:
            raise ConfigError(
                f"{self._endpoint.shown} does not tell its longest context: give setting max_model_len, in tokens",
                param="max_model_len",
            )
        return min(limit for limit in (card.max_tokens, asked) if limit is not None)

    def _version(self, card: ModelCard) -> str:
        told = json.dumps([card.model_dump(), self._settings.engine_version or ""], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    async def _sampled(
        self, proof: Proof, query: RolloutQuery, connection: _Connection, session: str
    ) -> tuple[tuple[ProbeAnswer, ...], int]:
        """Sampled answers; probes with less room for an answer than others are asked apart, with what there is."""
        prompts = [[*proof.token_ids[: probe.cut].tolist(), *probe.suffix] for probe in proof.probes]
        places_of: dict[int, list[int]] = {}
        for place in sorted(range(len(prompts)), key=lambda place: -len(prompts[place])):
            limit = min(query.max_tokens, connection.info.max_tokens - len(prompts[place]))
            places_of.setdefault(limit, []).append(place)
        exact = connection.completer.dialect.exact_ids
        # vLLM refuses several greedy answers, which would be equal anyway.
        num_samples = query.num_samples if query.temperature > 0 else 1
        fields: dict[str, object] = {"temperature": query.temperature, "top_p": query.top_p}
        if exact:
            fields |= {"logprobs": 0, **TOKENS_AS_IDS}
        questions = [
            Question(
                [prompts[place] for place in places],
                [proof.probes[place].seed for place in places] if query.temperature > 0 else None,
                num_samples,
                {**fields, "max_tokens": limit},
            )
            for limit, places in places_of.items()
        ]
        replies = await together([connection.completer.complete(question, session) for question in questions])
        answer_of: dict[int, ProbeAnswer] = {}
        for places, (rows, _) in zip(places_of.values(), replies, strict=True):
            for place, choices in zip(places, rows, strict=True):
                completions = tuple(self._completion(choice, query, exact=exact) for choice in choices)
                told = [mean_logprob(choice, len(ids), query) for choice, ids in zip(choices, completions, strict=True)]
                logprobs = tuple(logprob for logprob in told if logprob is not None)
                repeats = query.num_samples // num_samples
                answer_of[place] = ProbeAnswer(
                    completions=completions * repeats,
                    completion_logprobs=logprobs * repeats if len(logprobs) == len(told) else (),
                )
        return tuple(answer_of[place] for place in range(len(prompts))), sum(num for _, num in replies)

    def _completion(self, choice: Choice, query: RolloutQuery, *, exact: bool) -> tuple[int, ...]:
        ids = sampled_ids(choice) if exact else self._encoded(choice.text)
        return until_balanced(ids, self._tokenizer.braces) if query.stop_at_close else tuple(ids)

    def _encoded(self, text: str) -> list[int]:
        try:
            return [int(token) for token in self._tokenizer.encode_untrusted(text).ids]
        except TraceError as error:
            raise ProverError(f"a sampled answer cannot be encoded: {error}") from error


def _refuse_uncoupled(query: Query, info: ProverInfo) -> None:
    if isinstance(query, RolloutQuery) and query.coupled and query.temperature > 0 and info.coupled != "endpoint":
        raise ProverError(
            "this endpoint's `seed` does not give answers of two prefixes the same noise (it was tried: the server's "
            "log says how they agreed), which coupled answers need: leave estimator.coupled out, or use engine 'vllm' "
            "or 'transformers', or an endpoint that seeds each answer's own tokens, such as vLLM's V1 runner",
            code="unsupported_query",
            param="options.estimator.coupled",
        )
