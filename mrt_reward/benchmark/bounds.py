"""The bound: what an engine takes for the unique tokens alone, in plain prompts that share nothing, and for decoding.

Nothing that answers the same questions can be cheaper, unless it leaves out part of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mrt_reward.protocols import Prover

WITH_BOUND = frozenset({"transformers", "vllm"})
"""Engines that have one: the network of any other is elsewhere, or nobody can ask it for plain work."""


class Bound(Protocol):
    """An engine, asked for plain work."""

    async def prefill(self, lengths: Sequence[int], seed: int) -> None:
        """Run prompts of these lengths through the network, one logit row each; their tokens are drawn."""
        ...

    async def decode(self, num_answers: int, num_tokens: int, seed: int) -> None:
        """Generate this many answers of this many tokens, each after a prompt of one token."""
        ...


def bound_of_engine(prover: Prover) -> Bound | None:
    """The bound of a prover's engine; None for one that is not `WITH_BOUND`."""
    if prover.info.engine == "transformers":
        from mrt_reward.benchmark.plain_forward import PlainForward  # noqa: PLC0415 - loads torch

        return PlainForward.of(prover)
    if prover.info.engine == "vllm":
        from mrt_reward.benchmark.vllm_plain import PlainRequests  # noqa: PLC0415 - loads vLLM

        return PlainRequests.of(prover)
    return None
