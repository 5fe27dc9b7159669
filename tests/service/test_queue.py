from __future__ import annotations

import asyncio
import contextvars
from contextlib import ExitStack

import numpy as np
import pytest

from mrt_reward.errors import BudgetSpent, Overloaded, ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, SpellingIds, asking_for
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.queue import ProofQueue, QueueLimits


def proof(num_tokens: int = 5) -> Proof:
    query = LikelihoodQuery((SpellingIds((1,), (2,)),))
    return Proof(np.ones(num_tokens, np.int32), (Probe(num_tokens, (3,)),), query)


class Gate(ScriptedProver):
    """Holds every proof until told."""

    def __init__(self, *, num_slots: int = 1) -> None:
        super().__init__([0.5], num_slots=num_slots)
        self.open = asyncio.Event()
        self.begun: list[int] = []
        """Tokens of the proofs that were begun, in order."""
        self.num_running = 0
        self.most_running = 0
        self.num_cancelled = 0

    async def prove(self, proof: Proof) -> Proven:
        self.begun.append(len(proof.token_ids))
        self.num_running += 1
        self.most_running = max(self.most_running, self.num_running)
        try:
            await self.open.wait()
            return await super().prove(proof)
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        finally:
            self.num_running -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize("num_slots", [1, 3])
async def test_as_many_proofs_run_as_there_are_slots_and_in_order_of_arrival(num_slots: int) -> None:
    gate = Gate(num_slots=num_slots)
    queue = ProofQueue(gate)
    calls = [asyncio.create_task(queue.prove(proof(size))) for size in range(5, 12)]
    await settle()
    assert gate.begun == list(range(5, 5 + num_slots))
    gate.open.set()
    assert len(await asyncio.gather(*calls)) == 7
    assert gate.begun == list(range(5, 12))
    assert gate.most_running == num_slots
    await queue.close()


async def test_an_answer_is_handed_on_before_the_next_proof_is_begun() -> None:
    events: list[str] = []

    class Noting(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            events.append(f"begun {len(proof.token_ids)}")
            return await super().prove(proof)

    queue = ProofQueue(Noting([0.5]))

    async def call(size: int) -> None:
        await queue.prove(proof(size))
        events.append(f"out {size}")

    await asyncio.gather(*(call(size) for size in (5, 6, 7)))
    assert events == ["begun 5", "out 5", "begun 6", "out 6", "begun 7", "out 7"]
    await queue.close()


async def test_a_caller_who_leaves_stops_the_engines_work_and_gives_the_slot_to_the_next() -> None:
    gate = Gate()
    queue = ProofQueue(gate)
    first, second = (asyncio.create_task(queue.prove(proof(size))) for size in (5, 6))
    await settle()
    first.cancel()
    await settle()
    assert (gate.num_cancelled, gate.begun) == (1, [5, 6])
    gate.open.set()
    assert isinstance(await second, Proven)
    assert first.cancelled()
    await queue.close()


async def test_a_caller_that_left_while_waiting_costs_no_engine_time() -> None:
    gate = Gate()
    queue = ProofQueue(gate)
    first, second, third = (asyncio.create_task(queue.prove(proof(size))) for size in (5, 6, 7))
    await settle()
    second.cancel()
    await settle()
    gate.open.set()
    await asyncio.gather(first, third)
    assert gate.begun == [5, 7]
    await queue.close()


@pytest.mark.parametrize("error", [ProverUnavailable("restarting"), ProverError("this one"), RuntimeError("bug")])
async def test_an_engine_that_raises_fails_that_proof_and_not_the_queue(error: Exception) -> None:
    class Broken(ScriptedProver):
        broken = True

        async def prove(self, proof: Proof) -> Proven:
            if self.broken:
                raise error
            return await super().prove(proof)

    prover = Broken([0.5])
    queue = ProofQueue(prover)
    with pytest.raises(type(error), match=str(error)):
        await queue.prove(proof())
    prover.broken = False
    assert isinstance(await queue.prove(proof()), Proven)
    await queue.close()


async def test_closing_fails_what_waits_and_what_runs_and_what_comes_later() -> None:
    gate = Gate()
    queue = ProofQueue(gate)
    calls = [asyncio.create_task(queue.prove(proof())) for _ in range(3)]
    await settle()
    await queue.close()
    assert all(isinstance(result, ProverError) for result in await asyncio.gather(*calls, return_exceptions=True))
    assert (gate.num_cancelled, gate.num_running) == (1, 0)
    with pytest.raises(ProverError, match="closed"):
        await queue.prove(proof())


async def test_what_does_not_fit_is_refused_and_a_large_request_is_admitted_alone() -> None:
    queue = ProofQueue(ScriptedProver([0.5]), QueueLimits(10))
    with queue.admitted(25):
        assert queue.queued_tokens == 25
        with pytest.raises(Overloaded, match="holds 25 tokens"), queue.admitted(1):
            pass
    with queue.admitted(4), queue.admitted(6):
        assert queue.queued_tokens == 10
    assert queue.queued_tokens == 0


def asked_by(caller: str) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(asking_for, caller)
    return context


async def test_a_flood_shuts_nobody_out_who_has_nothing_in_the_queue_and_the_queue_stays_bounded() -> None:
    queue = ProofQueue(ScriptedProver([0.5]), QueueLimits(10))

    def admitted(caller: str, num_tokens: int) -> bool:
        try:
            asked_by(caller).run(stack.enter_context, queue.admitted(num_tokens))
        except Overloaded:
            return False
        return True

    with ExitStack() as stack:
        assert [admitted("flood", 5) for _ in range(4)] == [True, True, False, False]
        assert admitted("neighbour", 5), "as much room again for those who have none"
        assert not admitted("neighbour", 1), "who has some waits like everybody"
        assert admitted("third", 5)
        assert not admitted("fourth", 1)
        assert queue.queued_tokens == 20
    assert (queue.queued_tokens, dict(queue._held)) == (0, {})


async def test_callers_take_turns_and_are_charged_for_what_is_begun() -> None:
    gate = Gate()
    queue = ProofQueue(gate, QueueLimits(1000, tokens_per_minute={"flood": None, "neighbour": 7}))

    def prove(caller: str, size: int) -> asyncio.Task[Proven]:
        return asked_by(caller).run(asyncio.create_task, queue.prove(proof(size)))

    calls = [prove("flood", 100 + index) for index in range(5)]
    await settle()
    calls += [prove("neighbour", 5), prove("neighbour", 6)]
    await settle()
    assert queue.budgets.charged == {"flood": 102, "neighbour": 0}
    gate.open.set()
    await asyncio.gather(*calls)
    assert gate.begun == [100, 5, 6, 101, 102, 103, 104]
    # A proof is its tokens, the terminator's one and the spelling's one.
    assert queue.budgets.charged == {"flood": sum(range(102, 107)), "neighbour": 7 + 8}
    with pytest.raises(BudgetSpent):
        asked_by("neighbour").run(queue.admitted(1).__enter__)
    await queue.close()


async def test_who_has_no_deadline_waits_for_room_and_holds_it() -> None:
    queue = ProofQueue(ScriptedProver([0.5]), QueueLimits(10))
    entered: list[int] = []
    leave = asyncio.Event()

    async def work(num_tokens: int) -> None:
        async with queue.room(num_tokens):
            entered.append(num_tokens)
            await leave.wait()

    with queue.admitted(8):
        tasks = [asyncio.create_task(work(size)) for size in (7, 2, 5)]
        await settle()
        assert entered == [2]
    await settle()
    # 2 and 7 fit; 5 waits for either to leave.
    assert (entered, queue.queued_tokens) == ([2, 7], 9)
    leave.set()
    await asyncio.gather(*tasks)
    assert (entered, queue.queued_tokens) == ([2, 7, 5], 0)


async def test_the_wait_that_a_full_queue_asks_for_grows_with_it_and_shrinks_with_speed() -> None:
    class Slow(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            await asyncio.sleep(0.1)
            return await super().prove(proof)

    def least_s(queued: int) -> float:
        with queue.admitted(queued), pytest.raises(Overloaded) as caught, queue.admitted(1000):
            pass
        return caught.value.retry_after_s

    queue = ProofQueue(Slow([0.5]), QueueLimits(1000))
    unknown = least_s(1000)
    await queue.prove(proof(98))  # 100 tokens in 0.1 s or more: at most 1000 tokens a second.
    assert least_s(4000) >= 4.0 > unknown
    assert least_s(8000) == pytest.approx(2 * least_s(4000))
    await queue.close()


async def test_work_that_gets_on_is_seen_by_its_answers() -> None:
    gate = Gate()
    queue = ProofQueue(gate)
    assert queue.silent_s is None
    with queue.admitted(7):
        assert not queue.answers_within(60)
        gate.open.set()
        await queue.prove(proof())
        assert queue.answers_within(60)
        gate.unavailable = True
        with pytest.raises(ProverUnavailable):
            await queue.prove(proof())
        assert not queue.answers_within(60)
    await queue.close()
