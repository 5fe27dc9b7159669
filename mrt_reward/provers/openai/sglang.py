"""SGLang's own protocol, `/generate`: the tail of a prompt is scored where its beginning is cached.

What SGLang 0.5 does, by its source (`io_struct.py`, `schedule_batch.py`, `tokenizer_manager.py`):
- At most `logprob_start_len` tokens of a prompt are taken from the radix cache, so that 0 computes all of it again.
- `input_token_logprobs` begins at `logprob_start_len`, and has null for the first token there, whose probability the
  token before it would tell. So a tail that begins at token n is asked for from n - 1 on.
- With `max_new_tokens` 0 nothing is written, and `output_token_ids_logprobs` still has the row of what would be.
- With `n` above 1 all answers have one `sampling_seed`, which makes them equal where the server is deterministic. So
  each answer is a prompt of its own here.
- `output_ids` include the end of turn. Log-probabilities of sampled tokens are those at the temperature that was used.
- A server started with `--allow-auto-truncate` shortens prompts without a word, which `prompt_tokens` shows.

Tested against a fake that does the same, not on SGLang itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import FiniteFloat, RootModel

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Proof
from mrt_reward.provers.likelihood import ROOT, spelling_logprobs, spelling_tree
from mrt_reward.provers.openai.endpoint import BAD_FINISHES, Endpoint
from mrt_reward.provers.openai.replies import ReplyObject
from mrt_reward.provers.openai.requests import in_requests
from mrt_reward.provers.openai.speaking import (
    Draw,
    EndpointAnswer,
    Found,
    FoundLookup,
    LikelihoodWay,
    WeightsMoved,
    terminated_prefixes,
)
from mrt_reward.provers.together import together

GENERATE = "/generate"
NEUTRAL: Mapping[str, object] = {
    "top_k": -1,
    "min_p": 0.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
}
"""Servers may have sampling defaults of their own."""

AT_TEMPERATURE_1 = (0.0, 1.0)
"""Temperatures at which log-probabilities of sampled tokens are those at temperature 1; greedy answers have these."""

Rated = tuple[FiniteFloat | None, int, str | None]
"""A token as SGLang returns it: log-probability, id, and its text where that is asked for."""


class Finish(ReplyObject):
    """Why an answer ended; `matched` is the token or text that ended it."""

    type: str
    matched: int | str | None = None
    message: str | None = None


class Meta(ReplyObject):
    """What SGLang returns beside an answer."""

    prompt_tokens: int
    completion_tokens: int = 0
    cached_tokens: int = 0
    finish_reason: Finish | None = None
    weight_version: str | None = None
    input_token_logprobs: list[Rated] | None = None
    output_token_logprobs: list[Rated] | None = None
    output_token_ids_logprobs: list[list[Rated] | None] | None = None

    @property
    def computed_tokens(self) -> int:
        """Tokens run through the network."""
        return max(0, self.prompt_tokens - self.cached_tokens) + self.completion_tokens


class Generation(ReplyObject):
    """The answer to one prompt."""

    meta_info: Meta
    output_ids: tuple[int, ...] = ()


class Generations(RootModel[list[Generation]]):
    """The reply to several prompts."""


class ModelInfo(ReplyObject):
    """Reply of `/model_info`, in older releases `/get_model_info`."""

    model_path: str
    weight_version: str | None = None


@dataclass(frozen=True, slots=True)
class SGLangPrompt:
    """One prompt of a request, with what SGLang returns for it.

    Attributes:
        ids: tokens of the prompt.
        sampling: how the answer is drawn.
        start: the first token whose log-probability is returned; -1: none.
        token_ids: tokens whose log-probabilities are returned as the next one after the prompt.

    """

    ids: Sequence[int]
    sampling: Mapping[str, object]
    start: int = -1
    token_ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class SGLangSpeaker:
    """A `Speaker` of SGLang's own protocol.

    Attributes:
        endpoint: HTTP connections to the server.
        weights: version that it reports of its weights; None where it reports none.
        tail_tokens: answer tokens to ask for where none is wanted: 0, or 1 where a release returns nothing with 0.

    """

    endpoint: Endpoint
    weights: str | None = None
    tail_tokens: int = 0
    way: LikelihoodWay = field(default=LikelihoodWay.TAIL, init=False)

    async def draw(self, draw: Draw, session: str) -> tuple[list[list[EndpointAnswer]], int]:
        """See `Speaker.draw`. Each answer has its own seed, which servers that are not deterministic ignore."""
        sampling = {"max_new_tokens": draw.max_tokens, "temperature": draw.temperature, "top_p": draw.top_p}
        seeds = draw.seeds or [None for _ in draw.prompts]
        prompts = [
            SGLangPrompt(ids, sampling if seed is None else {**sampling, "sampling_seed": (seed + sample) % 2**31})
            for ids, seed in zip(draw.prompts, seeds, strict=True)
            for sample in range(draw.num_samples)
        ]
        replies, num_tokens = await self.generate(prompts, session)
        answers = [self._answer(reply, rated=draw.temperature in AT_TEMPERATURE_1) for reply in replies]
        return [answers[at : at + draw.num_samples] for at in range(0, len(answers), draw.num_samples)], num_tokens

    async def likelihoods(self, proof: Proof, query: LikelihoodQuery, session: str) -> tuple[NDArray[np.float64], int]:
        """See `Speaker.likelihoods`: a prompt for each probe and spelling, whose tail and closes the server rates."""
        tree = spelling_tree(query.spellings)
        wanted, paths = tree.wanted(), list(dict.fromkeys(tree.paths))
        prefixes, longest_first = terminated_prefixes(proof)
        asked = [(probe, path) for probe in longest_first for path in paths]
        prompts = [
            self.tail([*prefixes[probe], *tree.beginning(path[-1])], len(prefixes[probe]), wanted[path[-1]])
            for probe, path in asked
        ]
        replies, num_tokens = await self.generate(prompts, session)
        found: Found = {}
        for (probe, path), prompt, reply in zip(asked, prompts, replies, strict=True):
            nodes = (ROOT, *path[:-1])
            for node, (token, logprob) in zip(nodes, self.rated_tail(prompt, reply), strict=True):
                found[probe, node, token] = logprob
            found.update({(probe, path[-1], token): logprob for token, logprob in rated_next(reply).items()})
        return spelling_logprobs(tree, FoundLookup(found, len(proof.probes))), num_tokens

    def tail(self, ids: Sequence[int], start: int, token_ids: Sequence[int]) -> SGLangPrompt:
        """A prompt whose tokens from `start` on are rated, and some tokens after it."""
        sampling = {"max_new_tokens": self.tail_tokens, "temperature": 1.0, "top_p": 1.0}
        return SGLangPrompt(ids, sampling, max(0, start - 1), token_ids)

    def rated_tail(self, prompt: SGLangPrompt, reply: Generation) -> list[tuple[int, float]]:
        """The tokens of a tail with their log-probabilities.

        Raises:
            ProverError: one is missing, or is another token than was sent.

        """
        rated, sent = reply.meta_info.input_token_logprobs or [], list(prompt.ids[prompt.start :])
        if [token for _, token, _ in rated] != sent:
            raise ProverError(
                f"{self.endpoint.shown} was asked to rate {len(sent)} tokens and rated {len(rated)} or others: it may "
                "have added or dropped some"
            )
        tail = [(token, logprob) for logprob, token, _ in rated[1:]]
        missing = next((token for token, logprob in tail if logprob is None), None)
        if missing is not None:
            raise ProverError(f"{self.endpoint.shown} was asked to rate token {missing}, and gave null for it")
        return [(token, logprob) for token, logprob in tail if logprob is not None]

    async def generate(self, prompts: Sequence[SGLangPrompt], session: str) -> tuple[list[Generation], int]:
        """The answers to all prompts, and the number of tokens computed; raises as `Endpoint.asked` does.

        Where there are several, the first one's tokens are read before the others are sent: all of them at once would
        not find them cached, and read them once each.
        """
        num_tokens = 0
        if len(prompts) > 1:
            [warm] = await self._sent([SGLangPrompt(prompts[0].ids, {"max_new_tokens": 0})], session)
            num_tokens = warm.meta_info.computed_tokens
        parts = in_requests([prompt.ids for prompt in prompts])
        replies = await together([self._sent([prompts[index] for index in part], session) for part in parts])
        generations = [generation for reply in replies for generation in reply]
        return generations, num_tokens + sum(each.meta_info.computed_tokens for each in generations)

    async def _sent(self, prompts: Sequence[SGLangPrompt], session: str) -> list[Generation]:
        body: dict[str, object] = {
            "input_ids": [list(prompt.ids) for prompt in prompts],
            "sampling_params": [{**NEUTRAL, **prompt.sampling} for prompt in prompts],
            "return_logprob": True,
            "logprob_start_len": [prompt.start for prompt in prompts],
            "token_ids_logprob": [list(prompt.token_ids) for prompt in prompts],
            "return_text_in_logprobs": False,
            "stream": False,
        }
        if not any(prompt.token_ids for prompt in prompts):
            del body["token_ids_logprob"]
        replies = (await self.endpoint.asked(GENERATE, body, Generations, session)).root
        if len(replies) != len(prompts):
            raise ProverError(f"{self.endpoint.shown} was sent {len(prompts)} prompts and sent {len(replies)} answers")
        for prompt, reply in zip(prompts, replies, strict=True):
            self._check(prompt, reply.meta_info)
        return replies

    def _check(self, prompt: SGLangPrompt, meta: Meta) -> None:
        finish = meta.finish_reason
        if finish is not None and finish.type in BAD_FINISHES:
            reason = f"{finish.type}: {finish.message or 'no reason'}"
            raise ProverError(f"{self.endpoint.shown} gave an answer up ({reason})")
        if meta.prompt_tokens != len(prompt.ids):
            raise ProverError(
                f"{self.endpoint.shown} was sent {len(prompt.ids)} tokens and read {meta.prompt_tokens}: start it "
                "without --allow-auto-truncate, which shortens what does not fit"
            )
        if None not in (self.weights, meta.weight_version) and meta.weight_version != self.weights:
            raise WeightsMoved(
                f"{self.endpoint.shown} answers with weights {meta.weight_version!r}, and had {self.weights!r} before: "
                "send the trace again"
            )

    def _answer(self, reply: Generation, *, rated: bool) -> EndpointAnswer:
        ids, finish = reply.output_ids, reply.meta_info.finish_reason
        reported = [logprob for logprob, _, _ in reply.meta_info.output_token_logprobs or [] if logprob is not None]
        logprobs = tuple(reported) if rated and len(reported) == len(ids) else ()
        ended = finish is not None and finish.type == "stop" and ids and ids[-1] == finish.matched
        return EndpointAnswer(tuple(ids[:-1] if ended else ids), logprobs=logprobs)


def rated_next(reply: Generation) -> dict[int, float]:
    """Log-probabilities of the tokens that were named, as the next one after the prompt; empty where there is none."""
    rows = reply.meta_info.output_token_ids_logprobs or [None]
    return {token: logprob for logprob, token, _ in rows[0] or [] if logprob is not None}
