"""Before an engine's first answer counts: does its cache say what a plain pass says, and which order computes less?

A prefix cache, a forced token or a copied weight can go wrong without any error. So forced answers are compared with an
uncached pass, and then a trace of several cuts is proved in both orders, from an empty cache and again from a full one,
and compared with its prefixes run from scratch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import structlog
from vllm import SamplingParams

from mrt_reward.errors import ProverError
from mrt_reward.protocols import ProbeAnswer, Proof, SpellingIds, Tokenizer
from mrt_reward.protocols.canary import (
    ANSWER,
    PROMPT,
    canary_proof,
    needed_tokens,
    rounding,
    sharing_remedy,
    tolerance,
    worst_difference,
)
from mrt_reward.provers.likelihood import spelling_tree
from mrt_reward.provers.vllm.engine import Engine
from mrt_reward.provers.vllm.forced import forced_paths
from mrt_reward.provers.vllm.probes import ProbeRunner

TRACE_BLOCKS = 16
"""Length of the trace in blocks of the cache, so that what is lost at the edge of a block does not tell most."""

TRACE_WINDOWS = 3
"""Length of the trace in windows at least, so that its cuts outgrow them."""

MAX_TRACE = 8192

MAX_PLAIN = 1024
"""Tokens of the uncached pass: the engine makes all logits of its prompt, 4 bytes a token and word."""

TF32 = 0.02
"""In nats: GPUs may multiply float32 with 10 bits of mantissa, in other blocks for other lengths."""

logger = structlog.stdlib.get_logger(__name__)


class SelfCheck:
    """Done once for each engine, by whoever comes first.

    Args:
        runner: runs probes on the engine; takes the ways that are right and cheap.
        engine: what is checked.
        tokenizer: of the model.
        salt: of the cache that is to be checked.

    Attributes:
        overhead: tokens computed for a trace of several cuts, per token needed; None until it was checked.

    """

    def __init__(self, runner: ProbeRunner, engine: Engine, tokenizer: Tokenizer, salt: str) -> None:
        self._runner = runner
        self._engine = engine
        self._tokenizer = tokenizer
        self._salt = salt
        self._lock = asyncio.Lock()
        self.overhead: float | None = None

    async def passed(self) -> None:
        """Return once the engine's answers are known to be right.

        Raises:
            ProverError: they are wrong, or there are none.

        """
        async with self._lock:
            if self.overhead is None:
                await verify(self._runner, self._engine, self._tokenizer, self._salt)
                self.overhead = await keep_cheaper_order(self._runner, self._engine, self._tokenizer, self._salt)


async def keep_cheaper_order(runner: ProbeRunner, engine: Engine, tokenizer: Tokenizer, salt: str) -> float:
    """Prove a trace in both orders, and keep the one that computes less; tokens that it computes, per token needed.

    Raises:
        ProverError: an answer from the cache is not the one from scratch.

    """
    length = max(TRACE_BLOCKS * engine.block_size, TRACE_WINDOWS * engine.window) + 5
    proof = canary_proof(tokenizer, min(length, MAX_TRACE), engine.max_model_len)
    expected, _ = await runner.asking(f"{salt}-scratch", cached=False).prove(proof)
    computed: dict[bool, int] = {}
    for longest_first in (True, False):
        asking = runner.asking(f"{salt}-{longest_first}", longest_first=longest_first)
        for attempt in ("an empty", "a full"):
            found, num_tokens = await asking.prove(proof)
            computed.setdefault(longest_first, num_tokens)
            _refuse_other(found, expected, proof, engine.dtype, attempt)
    runner.ways.longest_first = computed[True] <= computed[False]
    overhead = computed[runner.ways.longest_first] / needed_tokens(proof)
    order = "longest first" if runner.ways.longest_first else "shortest first"
    logger.info("prefixes_shared", order=order, computed_per_needed=round(overhead, 2))
    if remedy := sharing_remedy("vllm", overhead):
        logger.warning("prefixes_hardly_shared", computed_per_needed=round(overhead, 2), remedy=remedy)
    return overhead


def _refuse_other(
    found: Sequence[ProbeAnswer], expected: Sequence[ProbeAnswer], proof: Proof, dtype: str, cache: str
) -> None:
    apart, limit = worst_difference(found, expected), max(rounding(proof, dtype), TF32)
    # Not `>`, which NaN would pass.
    if not apart <= limit:
        raise ProverError(
            f"the engine's values from {cache} prefix cache are {apart:.3g} nats away from those of the same "
            f"prefixes run from scratch, at most {limit:.2g} is rounding in {dtype}: use another vLLM release, "
            f"or another dtype",
            code="self_check_failed",
        )


async def verify(runner: ProbeRunner, engine: Engine, tokenizer: Tokenizer, salt: str) -> None:
    """Compare forced log-probabilities with an uncached pass; without them, fall back to single steps, and say so.

    Raises:
        ProverError: the engine's cached answers are wrong either way.

    """
    answer = tuple(int(token) for token in tokenizer.encode_untrusted(f" {ANSWER}}}").ids)
    room = max(1, min(engine.max_model_len - len(answer) - 2, MAX_PLAIN, 3 * engine.block_size + 5))
    once = [int(token) for token in tokenizer.encode_untrusted(PROMPT).ids]
    prompt = (once * (room // len(once) + 1))[:room]
    expected = await _uncached(engine, [*prompt, *answer], len(answer), salt)
    problem = await _problem(runner, prompt, answer, expected, engine.dtype)
    if problem is None:
        return
    if runner.ways.forced:
        logger.warning("forced_answers_are_wrong", problem=problem, instead="one request for each token of a spelling")
        runner.ways.forced = False
        problem = await _problem(runner, prompt, answer, expected, engine.dtype)
    if problem is not None:
        raise ProverError(
            f"the engine's answers from its prefix cache differ from a plain pass ({problem}): use another vLLM "
            f"release, or another dtype",
            code="self_check_failed",
        )


async def _problem(
    runner: ProbeRunner, prompt: Sequence[int], answer: tuple[int, ...], expected: list[float], dtype: str
) -> str | None:
    """What is wrong with cached answers, asked twice so that the second finds the first in the cache."""
    [path] = forced_paths(spelling_tree([SpellingIds(answer, close=answer)]))
    for attempt in ("first", "second"):
        try:
            steps, _ = await runner.forced_steps(prompt, path)
        except ProverError as error:
            if error.retryable:
                raise
            return str(error)
        found = np.array([step.get(token, np.nan) for step, token in zip(steps, answer, strict=False)])
        difference = np.abs(found - expected)
        # Not `>`, which NaN would pass.
        if not (difference <= max(tolerance(dtype), TF32)).all():
            return f"{attempt} time {found.round(3).tolist()}, expected {np.round(expected, 3).tolist()}"
    return None


async def _uncached(engine: Engine, ids: Sequence[int], num_last: int, salt: str) -> list[float]:
    """Log-probabilities of the last tokens, from one pass that reads nothing from the cache."""
    params = SamplingParams(
        temperature=0.0, max_tokens=1, ignore_eos=True, prompt_logprobs=0, skip_reading_prefix_cache=True
    )
    output = await engine.ask(ids, params, f"{salt}-uncached")
    rows = cast("list[dict[int, Any]]", output.prompt_logprobs)[-num_last:]
    return [float(row[token].logprob) for row, token in zip(rows, ids[-num_last:], strict=True)]
