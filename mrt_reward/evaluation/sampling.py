"""Traces from a model: whatever engine proves can also sample.

Dimension key: T traces of a problem.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.protocols import RolloutQuery, Tokenizer
from mrt_reward.ranges import check_ranges, option
from mrt_reward.service.prompting import prompt_ids_of
from mrt_reward.service.sample import sample
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import TokenIds, Trace


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """How a model is sampled.

    A problem's traces depend on nothing but these, the problem and the model. Temperature 0 is greedy.

    Raises:
        ValueError: a field is outside its range.

    """

    num_traces: Annotated[int, Ge(1)] = option(8, "Traces to sample of each problem.")
    max_tokens: Annotated[int, Ge(1)] = option(16_384, "Longest trace, answer included, in tokens.")
    temperature: Annotated[float, Ge(0)] = option(0.6, "Sampling temperature of the traces.")
    top_p: Annotated[float, Gt(0), Le(1)] = option(0.95, "Nucleus of the traces.")
    seed: Annotated[int, Ge(0)] = option(0, "Seed of the traces and of the resampling.")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class CompletedTrace:
    """A trace with its completion by the model.

    Attributes:
        trace: its completion is there as text and as the model's own ids.
        num_tokens: sampled, without the end of turn.
        truncated: whether the budget, or the context, ended it.

    """

    trace: Trace
    num_tokens: int
    truncated: bool


async def sample_traces(scorer: Scorer, problem: Trace, spec: SamplingSpec) -> list[CompletedTrace]:
    """Completions of one problem, named `ID/0`, `ID/1`, ….

    Args:
        scorer: whose engine is sampled.
        problem: a trace without a completion.
        spec: how.

    Raises:
        TraceError: the problem has no prompt, or it leaves no room in the context.
        ProverError: the engine could not sample.

    """
    tokenizer = scorer.tokenizer
    prompt = prompt_ids_of(problem, tokenizer)
    completions, limit = await continue_from(scorer, prompt, spec, name=problem.id)
    return [
        CompletedTrace(_trace(problem, index, ids, tokenizer), len(ids), truncated=len(ids) >= limit)
        for index, ids in enumerate(completions)
    ]


async def continue_from(
    scorer: Scorer, context: TokenIds, spec: SamplingSpec, *, name: str
) -> tuple[Sequence[TokenIds], int]:
    """What the model writes after a context, `num_traces` times, and the most that it had room for.

    Raises:
        TraceError: the context is too short to be asked, or full.
        ProverError: the engine could not sample.

    """
    most = scorer.info.max_tokens or spec.max_tokens + len(context)
    limit = min(spec.max_tokens, most - len(context))
    if len(context) < 2 or limit < 1:
        raise TraceError(
            f"expected a prompt of 2 to {most - 1} tokens, got {len(context)}: nothing can be sampled after it",
            code="context_length_exceeded" if limit < 1 else None,
            param="problem",
        )
    query = RolloutQuery(spec.num_traces, spec.temperature, spec.top_p, limit, stop_at_close=False)
    proven = await sample(scorer, context, query, draw_seed(spec.seed, name, context))
    return [np.array(ids, np.int32) for ids in proven.answers[0].completions], limit


async def require_logprobs(scorer: Scorer) -> None:
    """Ask the engine for one token, to see whether it returns log-probabilities of its answers.

    Raises:
        ConfigError: it does not.
        ProverError: it could not even sample that.

    """
    context = scorer.tokenizer.encode_trusted("1 + 1 = ")
    query = RolloutQuery(1, 1.0, 1.0, 1, stop_at_close=False, logprobs=True)
    if not (await sample(scorer, context, query)).answers[0].completion_logprobs:
        raise ConfigError(
            f"weighted votes need to know how probable answers were, and engine {scorer.info.engine!r} with "
            f"{scorer.info.model} does not tell: use transformers, vllm, or openai at vLLM's, or plain votes",
            param="weighted_votes",
        )


def _trace(problem: Trace, index: int, ids: TokenIds, tokenizer: Tokenizer) -> Trace:
    text, _ = tokenizer.locate(ids)
    return replace(
        problem,
        id=f"{problem.id}/{index}",
        completion=text,
        completion_ids=ids,
        tokenizer=tokenizer.sha256,
        group=problem.group or problem.id,
    )


def draw_seed(seed: int, name: str, context: TokenIds) -> int:
    """Seed of what is sampled after a context: of the run's seed, of a name and of the context, and of nothing else."""
    data = f"{seed}|{name}|".encode(errors="surrogatepass") + context.astype("<i4").tobytes()
    return int.from_bytes(hashlib.blake2b(data, digest_size=4).digest(), "little")
