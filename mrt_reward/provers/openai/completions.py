"""OpenAI's completions protocol, as far as a server speaks it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrt_reward.protocols import LikelihoodQuery, Proof, Tokenizer
from mrt_reward.provers.openai.dialect import TOKENS_AS_IDS
from mrt_reward.provers.openai.likelihood import likelihoods
from mrt_reward.provers.openai.replies import Choice
from mrt_reward.provers.openai.requests import Completer, CompletionQuery, sampled_ids
from mrt_reward.provers.openai.speaking import Draw, EndpointAnswer, LikelihoodWay


class CompletionsSpeaker:
    """A `Speaker` of the completions protocol.

    Args:
        completer: asks for completions, in what the server knows of the protocol.
        tokenizer: the model's own.

    """

    def __init__(self, completer: Completer, tokenizer: Tokenizer) -> None:
        self.completer = completer
        self._tokenizer = tokenizer

    @property
    def way(self) -> LikelihoodWay:
        """How the server returns likelihoods."""
        return self.completer.dialect.likelihood

    async def draw(self, draw: Draw, session: str) -> tuple[list[list[EndpointAnswer]], int]:
        """See `Speaker.draw`. Answers are seeded once a request (`Completer`)."""
        exact = self.completer.dialect.exact_ids
        fields = {"temperature": draw.temperature, "top_p": draw.top_p, "max_tokens": draw.max_tokens}
        if exact:
            fields |= {"logprobs": 0, **TOKENS_AS_IDS}
        query = CompletionQuery(draw.prompts, draw.seeds, draw.num_samples, fields)
        rows, num_tokens = await self.completer.complete(query, session)
        return [[_answer(choice, exact=exact) for choice in choices] for choices in rows], num_tokens

    async def likelihoods(self, proof: Proof, query: LikelihoodQuery, session: str) -> tuple[NDArray[np.float64], int]:
        """See `Speaker.likelihoods`."""
        return await likelihoods(self.completer, proof, query, self._tokenizer, session)


def _answer(choice: Choice, *, exact: bool) -> EndpointAnswer:
    if not exact:
        return EndpointAnswer(None, choice.text)
    logprobs = choice.logprobs.token_logprobs if choice.logprobs else []
    return EndpointAnswer(
        tuple(sampled_ids(choice)), choice.text, tuple(logprob for logprob in logprobs if logprob is not None)
    )
