"""Proofs asked at once, and failures that are expected, of any prover."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from mrt_reward.errors import ProverError
from mrt_reward.protocols import Proof, Proven, Prover


async def prove_all(prover: Prover, proofs: Sequence[Proof]) -> list[Proven]:
    """All of them at once, in their order; the first failure is raised."""
    tasks = [asyncio.ensure_future(prover.prove(proof)) for proof in proofs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def failure_of(prover: Prover, proof: Proof) -> ProverError:
    """The error of a proof that cannot be answered."""
    with pytest.raises(ProverError) as raised:
        await prover.prove(proof)
    return raised.value
