"""Proofs asked at once, and failures that are expected, of any prover."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Hashable, Sequence

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


def assert_same_law(one: Sequence[Hashable], other: Sequence[Hashable]) -> None:
    """Two samples of equal size come from one distribution, by the chi-square test at 0.1 %.

    What was drawn less than 20 times in both together counts as one outcome.
    """
    assert len(one) == len(other)
    counts = Counter(one), Counter(other)
    bins: Counter[tuple[Hashable, int]] = Counter()
    for which, counted in enumerate(counts):
        for outcome, count in counted.items():
            bins[outcome if counts[0][outcome] + counts[1][outcome] >= 20 else "rare", which] += count
    outcomes = {outcome for outcome, _ in bins}
    assert len(outcomes) > 4, "an experiment with so few outcomes tells little"
    pairs = [(bins[outcome, 0], bins[outcome, 1]) for outcome in outcomes]
    statistic = sum((a - b) ** 2 / (a + b) for a, b in pairs)
    # The 99.9th percentile of chi-square by Wilson and Hilferty, within 0.5 % from 4 degrees of freedom on.
    degrees = len(pairs) - 1
    spread = 2 / (9 * degrees)
    assert statistic < degrees * (1 - spread + 3.0902 * math.sqrt(spread)) ** 3
