"""One full forward: what an engine takes for the unique tokens alone, in plain prompts that share nothing.

Rollouts also decode as many answers, of as many tokens, behind one trace that all of them read, of the mean length of
their prefixes. This is a measure and no bound: of the trace nobody reads what the last layer puts out, and the embedded
engine does not compute it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mrt_reward.protocols import Prover

WITH_FORWARD = frozenset({"transformers", "vllm"})
"""Engines that can do that: the network of any other is elsewhere, or nobody can ask it for plain work."""


class Forward(Protocol):
    """An engine, asked for plain work."""

    async def prefill(self, lengths: Sequence[int], seed: int) -> None:
        """Run prompts of these lengths through the network, one logit row each; their tokens are drawn."""
        ...

    async def decode(self, num_answers: int, num_tokens: int, num_read: int, seed: int) -> None:
        """Generate this many answers of this many tokens, behind one trace of `num_read` tokens, read before."""
        ...


def forward_of_engine(prover: Prover) -> Forward | None:
    """Plain work on a prover's engine; None for one that is not `WITH_FORWARD`."""
    if prover.info.engine == "transformers":
        from mrt_reward.benchmark.plain_forward import PlainForward  # noqa: PLC0415 - loads torch

        return PlainForward.of(prover)
    if prover.info.engine == "vllm":
        from mrt_reward.benchmark.vllm_plain import PlainRequests  # noqa: PLC0415 - loads vLLM

        return PlainRequests.of(prover)
    return None
