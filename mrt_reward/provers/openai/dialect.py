"""What a server of the completions protocol can do, found out by asking it tiny questions once.

Servers accept fields that they ignore, so nothing is believed from a status alone: choices are counted, and
log-probabilities are compared with the one that the server gives for its own most probable token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from mrt_reward.errors import ProverError, ProverUnavailable, TraceError
from mrt_reward.options import MAX_SAMPLES
from mrt_reward.protocols import Tokenizer
from mrt_reward.provers.openai.endpoint import Endpoint, is_of_the_question
from mrt_reward.provers.openai.replies import Choice
from mrt_reward.provers.openai.speaking import LikelihoodWay

logger = structlog.stdlib.get_logger(__name__)

# Servers have sampling defaults of their own, or take them from the model's generation settings.
NEUTRAL: Mapping[str, object] = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
NEUTRAL_EXTRAS: Mapping[str, object] = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
TOKENS_AS_IDS: Mapping[str, object] = {"return_tokens_as_token_ids": True}
TOLERANCE = 0.1
"""Between two log-probabilities of one token: half precision and other batches move it, another token moves it more."""

_TOKEN_ID = re.compile(r"token_id:(\d+)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server can do.

    Attributes:
        lists: several prompts in one request.
        samples: several completions of a prompt in one request.
        exact_ids: it returns the ids of sampled tokens; otherwise their text is encoded again.
        neutral: fields that switch its sampling defaults off.
        likelihood: how it returns the probability of a token.

    """

    lists: bool
    samples: bool
    exact_ids: bool
    neutral: Mapping[str, object]
    likelihood: LikelihoodWay


def token_id(name: str) -> int | None:
    """The id in `token_id:7`, as vLLM writes tokens when asked to."""
    found = _TOKEN_ID.fullmatch(name)
    return int(found[1]) if found else None


class Interview:
    """The tiny questions.

    Args:
        endpoint: HTTP connections to the server.
        model: the name it serves.
        tokenizer: the model's own.

    """

    def __init__(self, endpoint: Endpoint, model: str, tokenizer: Tokenizer) -> None:
        self._endpoint = endpoint
        self._fields: dict[str, object] = {"model": model, "max_tokens": 1, "temperature": 1.0, **NEUTRAL}
        self._tokenizer = tokenizer
        texts = ("1 + 1 = 2. 2 + 2 = 4. 3 + 3 =", "The final answer is")
        self._prompts = [[int(token) for token in tokenizer.encode_trusted(text)] for text in texts]

    async def dialect(self) -> Dialect:
        """Ask.

        Raises:
            ProverUnavailable: the server does not answer.
            ProverError: it takes no token ids.

        """
        neutral = {**NEUTRAL, **NEUTRAL_EXTRAS}
        if not await self._can(1, NEUTRAL_EXTRAS):
            neutral = dict(NEUTRAL)
            logger.warning("endpoint_refuses_top_k_and_min_p", endpoint=self._endpoint.shown)
            # Now its refusal is an error.
            await self._ask(1, {})
        self._fields |= neutral
        # llama.cpp takes as many as it has slots: whoever does not take the most there may be is asked for one by one.
        samples = {"n": MAX_SAMPLES, "seed": 1}
        if await self._can(2, samples):
            lists, many = True, True
        else:
            lists, many = await self._can(2, {}), await self._can(1, samples)
        found = Dialect(lists, many, await self._returns_ids(), neutral, LikelihoodWay.NONE)
        found = replace(found, likelihood=await self._likelihood_way())
        logger.info(
            "endpoint_found",
            endpoint=self._endpoint.shown,
            prompts_per_request="many" if lists else "one",
            samples_per_request="many" if many else "one",
            sampled_tokens="ids" if found.exact_ids else "text",
            likelihood=found.likelihood.name.lower(),
        )
        return found

    async def _ask(self, num_prompts: int, fields: Mapping[str, object]) -> Choice:
        rows, _ = await self._endpoint.complete(self._prompts[:num_prompts], {**self._fields, **fields}, "check")
        return rows[0][0]

    async def _can(self, num_prompts: int, fields: Mapping[str, object]) -> bool:
        return await self._answer(num_prompts, fields) is not None

    async def _answer(self, num_prompts: int, fields: Mapping[str, object]) -> Choice | None:
        try:
            return await self._ask(num_prompts, fields)
        except ProverError as error:
            if not is_of_the_question(error):
                raise
            return None

    async def _returns_ids(self) -> bool:
        choice = await self._answer(1, {"logprobs": 0, **TOKENS_AS_IDS})
        tokens = choice.logprobs.tokens if choice and choice.logprobs else []
        return len(tokens) == 1 and token_id(tokens[0]) is not None

    async def _likelihood_way(self) -> LikelihoodWay:
        greedy = {"temperature": 0.0, "logprobs": 1}
        choice = await self._answer(1, {**greedy, **TOKENS_AS_IDS})
        if choice is None or not choice.logprobs or not choice.logprobs.token_logprobs:
            return LikelihoodWay.NONE
        truth = choice.logprobs.token_logprobs[0]
        best = self._best_token(choice)
        if truth is None or best is None:
            return LikelihoodWay.NONE
        if await self._known_by_ids(best, truth):
            return LikelihoodWay.TOKEN_IDS
        return LikelihoodWay.ECHO if await self._known_by_echo(best, truth) else LikelihoodWay.NONE

    def _best_token(self, choice: Choice) -> int | None:
        """Id of the sampled token, if it can be known."""
        names = choice.logprobs.tokens if choice.logprobs else []
        reported = token_id(names[0]) if len(names) == 1 else None
        if reported is not None:
            return reported
        try:
            encoded = self._tokenizer.encode_untrusted(names[0] if names else choice.text).ids
        except TraceError:
            return None
        return int(encoded[0]) if len(encoded) == 1 else None

    async def _known_by_ids(self, best: int, truth: float) -> bool:
        others = [token for token in self._prompts[0] if token != best][:1]
        asked = [best, *others]
        fields = {"logprobs": len(asked), "logprob_token_ids": asked, **TOKENS_AS_IDS}
        choice = await self._answer(1, fields)
        if choice is None or not choice.logprobs or not choice.logprobs.top_logprobs:
            return False
        top = choice.logprobs.top_logprobs[0] or {}
        reported = [top.get(f"token_id:{token}") for token in asked]
        return None not in reported and math.isclose(reported[0] or 0.0, truth, abs_tol=TOLERANCE)

    async def _known_by_echo(self, best: int, truth: float) -> bool:
        prompt = [*self._prompts[0], best]
        fields = {**self._fields, "echo": True, "logprobs": 1}
        try:
            [[choice]], _ = await self._endpoint.complete([prompt], fields, "check")
        except ProverUnavailable:
            raise
        except ProverError:
            return False
        logprobs = choice.logprobs.token_logprobs if choice.logprobs else []
        if len(logprobs) not in {len(prompt), len(prompt) + 1}:
            return False
        reported = logprobs[len(prompt) - 1]
        return reported is not None and math.isclose(reported, truth, abs_tol=TOLERANCE)
