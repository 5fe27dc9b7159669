"""Sampled answers to a proof's probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrt_reward.errors import ProverError, TraceError
from mrt_reward.protocols import ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.openai.speaking import Draw, EndpointAnswer, Speaker, terminated_prefixes
from mrt_reward.provers.stops import until_balanced
from mrt_reward.provers.together import together
from mrt_reward.provers.tokenizer import HFTokenizer


@dataclass(frozen=True, slots=True)
class AnswerSampler:
    """Asks for sampled answers, and reads them.

    Attributes:
        speaker: asks the endpoint.
        tokenizer: the model's own.
        max_tokens: longest context; probes with less room for an answer than others are asked apart, with what there
            is.

    """

    speaker: Speaker
    tokenizer: HFTokenizer
    max_tokens: int

    async def answers(self, proof: Proof, query: RolloutQuery) -> tuple[tuple[ProbeAnswer, ...], int]:
        """An answer for each probe, and the number of tokens computed; raises as `Speaker.draw` does."""
        prompts, longest_first = terminated_prefixes(proof)
        indices_of: dict[int, list[int]] = {}
        for index in longest_first:
            limit = min(query.max_tokens, self.max_tokens - len(prompts[index]))
            indices_of.setdefault(limit, []).append(index)
        # Greedy answers are equal, and vLLM refuses several of them.
        num_samples = query.num_samples if query.temperature > 0 else 1
        draws = [
            Draw(
                [prompts[index] for index in indices],
                [proof.probes[index].seed for index in indices] if query.temperature > 0 else None,
                num_samples,
                limit,
                query.temperature,
                query.top_p,
            )
            for limit, indices in indices_of.items()
        ]
        replies = await together([self.speaker.draw(draw, proof.session) for draw in draws])
        answer_of: dict[int, ProbeAnswer] = {}
        for indices, (rows, _) in zip(indices_of.values(), replies, strict=True):
            for index, row in zip(indices, rows, strict=True):
                answer_of[index] = self._answer(row * (query.num_samples // num_samples), query)
        return tuple(answer_of[index] for index in range(len(prompts))), sum(num_tokens for _, num_tokens in replies)

    def _answer(self, row: Sequence[EndpointAnswer], query: RolloutQuery) -> ProbeAnswer:
        completions = tuple(self._completion(answer, query) for answer in row)
        reported = [mean_logprob(answer, len(ids), query) for answer, ids in zip(row, completions, strict=True)]
        logprobs = tuple(logprob for logprob in reported if logprob is not None)
        return ProbeAnswer(
            completions=completions, completion_logprobs=logprobs if len(logprobs) == len(reported) else ()
        )

    def _completion(self, answer: EndpointAnswer, query: RolloutQuery) -> tuple[int, ...]:
        ids = self._encoded(answer.text) if answer.ids is None else answer.ids
        return until_balanced(ids, self.tokenizer.braces) if query.stop_at_close else tuple(ids)

    def _encoded(self, text: str) -> list[int]:
        try:
            return [int(token) for token in self.tokenizer.encode_untrusted(text).ids]
        except TraceError as error:
            raise ProverError(f"a sampled answer cannot be encoded: {error}") from error


def mean_logprob(answer: EndpointAnswer, num_tokens: int, query: RolloutQuery) -> float | None:
    """Mean over an answer's tokens, and the end of turn where the server returns it; None where it returns none.

    Args:
        answer: the answer as it was sent.
        num_tokens: of the answer as it is graded: what was cut off after the close is no part of it.
        query: says whether it is cut, and whether anybody asked.

    """
    logprobs = answer.logprobs if query.logprobs else ()
    if query.stop_at_close and num_tokens:
        logprobs = logprobs[:num_tokens]
    return min(0.0, sum(logprobs) / len(logprobs)) if logprobs else None
