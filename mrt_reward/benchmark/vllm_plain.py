"""vLLM's plain work: requests to the same running engine, all at once, that find nothing in its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from vllm import SamplingParams

from mrt_reward.protocols import Prover
from mrt_reward.provers.together import together
from mrt_reward.provers.vllm.engine import Engine
from mrt_reward.provers.vllm.prover import VLLMProver


class PlainRequests:
    """A `Forward` over a running engine.

    Args:
        engine: vLLM's engine.

    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def of(cls, prover: Prover) -> PlainRequests:
        """Of the engine that a `VLLMProver` asks."""
        return cls(cast("VLLMProver", prover).engine)

    async def prefill(self, lengths: Sequence[int], seed: int) -> None:
        """One request for each prompt, of one token."""
        rng = np.random.default_rng(seed)
        await self._ask_all([self._drawn(rng, length) for length in lengths], 1, str(seed))

    async def decode(self, num_answers: int, num_tokens: int, num_read: int, seed: int) -> None:
        """One request for each answer, all behind the same trace, which is read first where it is not cached.

        The trace ends at a block's edge, with one token behind it, so that a request computes no other of the prompt.
        """
        del seed  # the trace is always the same, so that the warm-up has read it
        block = self._engine.block_size
        trace = self._drawn(np.random.default_rng(0), num_read // block * block + 1)
        await self._ask_all([trace], 1, "decode")
        await self._ask_all([trace] * num_answers, num_tokens, "decode")

    async def _ask_all(self, prompts: Sequence[Sequence[int]], num_tokens: int, salt: str) -> None:
        def params() -> SamplingParams:
            return SamplingParams(temperature=0.0, max_tokens=num_tokens, ignore_eos=True)

        await together([self._engine.ask(prompt, params(), f"forward-{salt}") for prompt in prompts])

    def _drawn(self, rng: np.random.Generator, length: int) -> list[int]:
        return rng.integers(0, self._engine.vocab_size, length).tolist()
