"""Continuing a context: the one way to have the prover write, beside scoring."""

from __future__ import annotations

from mrt_reward.protocols import Probe, Proof, Proven, RolloutQuery
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import TokenIds


async def sample(scorer: Scorer, context: TokenIds, query: RolloutQuery, seed: int = 0) -> Proven:
    """Sampled answers to a whole context. It counts in the queue like everything else, and waits for room there.

    Args:
        scorer: whose engine writes.
        context: at least 2 tokens.
        query: how many answers, and how they are drawn.
        seed: of the draws.

    Returns:
        What was proven of one probe: its only answer holds the query's `num_samples` completions.

    Raises:
        Draining: the service is shutting down.
        ProverError: the engine failed.

    """
    if len(context) < 2:
        raise ValueError(f"expected a context of at least 2 tokens, got {len(context)}")
    # An engine answers suffixes: the context's last token is one.
    proof = Proof(context[:-1], (Probe(len(context) - 1, (int(context[-1]),), seed),), query)
    with scorer.activity.one_more():
        async with scorer.queue.room(proof.num_tokens):
            return await scorer.queue.prove(proof)
