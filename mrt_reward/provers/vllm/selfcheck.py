"""Before an engine's first answer counts: does it say the same from its cache as from scratch?

A prefix cache, a forced token or a copied weight can go wrong without any error. Then likelihoods are off by whole
nats, where rounding moves them by hundredths, so one comparison tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import structlog
from vllm import SamplingParams

from mrt_reward.errors import ProverError
from mrt_reward.protocols import SpellingIds, Tokenizer
from mrt_reward.provers.likelihood import spelling_tree
from mrt_reward.provers.vllm.engine import Engine
from mrt_reward.provers.vllm.forced import forced_paths
from mrt_reward.provers.vllm.probes import ProbeRunner

PROMPT = "Let me think about this step by step. First, I look at what is given, and then at what is asked for. "
ANSWER = " {42 and then 17}"
MAX_DIFFERENCE = 0.25
"""Between two log-probabilities of one token, in nats; bfloat16 stays below a fifth of it."""

logger = structlog.stdlib.get_logger(__name__)


class SelfCheck:
    """Done once for each engine, by whoever comes first.

    Args:
        runner: runs probes on the engine; falls back to single steps if need be.
        engine: what is checked.
        tokenizer: of the model.
        salt: of the cache that is to be checked.

    """

    def __init__(self, runner: ProbeRunner, engine: Engine, tokenizer: Tokenizer, salt: str) -> None:
        self._runner = runner
        self._engine = engine
        self._tokenizer = tokenizer
        self._salt = salt
        self._lock = asyncio.Lock()
        self._done = False

    async def passed(self) -> None:
        """Return once the engine's answers are known to be right.

        Raises:
            ProverError: they are wrong, or there are none.

        """
        async with self._lock:
            if not self._done:
                await verify(self._runner, self._engine, self._tokenizer, self._salt)
                self._done = True


async def verify(runner: ProbeRunner, engine: Engine, tokenizer: Tokenizer, salt: str) -> None:
    """Compare forced log-probabilities with an uncached pass; without them, fall back to single steps, and say so.

    Raises:
        ProverError: the engine's cached answers are wrong either way.

    """
    answer = tuple(int(token) for token in tokenizer.encode_untrusted(ANSWER).ids)
    room = max(1, min(engine.max_model_len - len(answer) - 2, 3 * engine.block_size + 5))
    once = [int(token) for token in tokenizer.encode_untrusted(PROMPT).ids]
    prompt = (once * (room // len(once) + 1))[:room]
    expected = await _uncached(engine, [*prompt, *answer], len(answer), salt)
    problem = await _problem(runner, prompt, answer, expected)
    if problem is None:
        return
    if runner.forced:
        logger.warning("forced_answers_are_wrong", problem=problem, instead="one request for each token of a spelling")
        runner.forced = False
        problem = await _problem(runner, prompt, answer, expected)
    if problem is not None:
        raise ProverError(
            f"the engine's answers from its prefix cache differ from a plain pass ({problem}): use another vLLM "
            f"release, or another dtype",
            code="self_check_failed",
        )


async def _problem(
    runner: ProbeRunner, prompt: Sequence[int], answer: tuple[int, ...], expected: list[float]
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
        if not (difference <= MAX_DIFFERENCE).all():
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
