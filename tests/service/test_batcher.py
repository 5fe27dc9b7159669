from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from mrt_reward.errors import Overloaded, ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, SpellingIds
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.batcher import Batcher


def proof(num_tokens: int = 5) -> Proof:
    query = LikelihoodQuery((SpellingIds((1,), (2,)),))
    return Proof(np.ones(num_tokens, np.int32), (Probe(num_tokens, (3,)),), query)


class Gate(ScriptedProver):
    """Holds every batch until told."""

    def __init__(self, *, max_batch_tokens: int = 1000) -> None:
        super().__init__([0.5])
        self.open = asyncio.Event()
        self.batches: list[int] = []
        self.num_cancelled = 0
        self._limit = max_batch_tokens

    @property
    def max_batch_tokens(self) -> int:
        return self._limit

    async def prove(self, proofs: Sequence[Proof]) -> Sequence[Proven | ProverError]:
        self.batches.append(len(proofs))
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        return await super().prove(proofs)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_waits_while_the_engine_works_goes_together() -> None:
    gate = Gate()
    batcher = Batcher(gate)
    calls = [asyncio.create_task(batcher.prove(proof())) for _ in range(5)]
    await settle()
    gate.open.set()
    assert len(await asyncio.gather(*calls)) == 5
    assert sum(gate.batches) == 5
    assert len(gate.batches) <= 2
    await batcher.close()


async def test_a_batch_holds_what_the_engine_takes_and_never_less_than_one() -> None:
    gate = Gate(max_batch_tokens=15)
    batcher = Batcher(gate)
    gate.open.set()
    # Each costs 5 + 1 + 1 tokens, so two fit; the large one goes alone although it fits nowhere.
    calls = [batcher.prove(proof(size)) for size in (5, 5, 5, 100)]
    await asyncio.gather(*calls)
    assert gate.batches == [2, 1, 1]
    await batcher.close()


async def test_the_engine_is_told_to_stop_when_every_caller_has_left() -> None:
    gate = Gate()
    batcher = Batcher(gate)
    calls = [asyncio.create_task(batcher.prove(proof())) for _ in range(2)]
    await settle()
    calls[0].cancel()
    await settle()
    assert gate.num_cancelled == 0
    calls[1].cancel()
    await settle()
    assert gate.num_cancelled == 1
    gate.open.set()
    assert isinstance(await batcher.prove(proof()), Proven)
    await batcher.close()


async def test_a_caller_that_left_while_waiting_costs_no_engine_time() -> None:
    gate = Gate()
    batcher = Batcher(gate)
    first = asyncio.create_task(batcher.prove(proof()))
    await settle()
    second = asyncio.create_task(batcher.prove(proof()))
    await settle()
    second.cancel()
    await settle()
    gate.open.set()
    await first
    await settle()
    assert gate.batches == [1]
    await batcher.close()


@pytest.mark.parametrize("error", [ProverUnavailable("restarting"), RuntimeError("bug")])
async def test_an_engine_that_raises_fails_its_batch_and_not_the_batcher(error: Exception) -> None:
    class Broken(ScriptedProver):
        broken = True

        async def prove(self, proofs: Sequence[Proof]) -> Sequence[Proven | ProverError]:
            if self.broken:
                raise error
            return await super().prove(proofs)

    prover = Broken([0.5])
    batcher = Batcher(prover)
    with pytest.raises(ProverError):
        await batcher.prove(proof())
    prover.broken = False
    assert isinstance(await batcher.prove(proof()), Proven)
    await batcher.close()


async def test_closing_fails_what_waits_and_what_runs() -> None:
    gate = Gate(max_batch_tokens=1)
    batcher = Batcher(gate)
    calls = [asyncio.create_task(batcher.prove(proof())) for _ in range(3)]
    await settle()
    await batcher.close()
    assert all(isinstance(result, ProverError) for result in await asyncio.gather(*calls, return_exceptions=True))


async def test_the_wait_that_a_full_queue_asks_for_grows_with_it_and_shrinks_with_speed() -> None:
    class Slow(Gate):
        async def prove(self, proofs: Sequence[Proof]) -> Sequence[Proven | ProverError]:
            await asyncio.sleep(0.1)
            return await super().prove(proofs)

    def told_s(queued: int) -> float:
        with batcher.admitted(queued), pytest.raises(Overloaded) as caught, batcher.admitted(1000):
            pass
        return caught.value.retry_after_s

    slow = Slow()
    slow.open.set()
    batcher = Batcher(slow, max_queue_tokens=1000)
    unknown = told_s(1000)
    await batcher.prove(proof(98))  # 100 tokens in 0.1 s or more: at most 1000 tokens a second.
    assert told_s(4000) >= 4.0 > unknown
    assert told_s(8000) == pytest.approx(2 * told_s(4000))
    await batcher.close()
