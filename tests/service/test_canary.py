"""A known trace, proved again: new weights are taken, other values of the same weights are not."""

from __future__ import annotations

import asyncio

import pytest

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.options import ScoreOptions
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.canary import Canary
from mrt_reward.service.queue import ProofQueue
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace
from tests.service.conftest import WordGrader, speller


class Drifting(ScriptedProver):
    """Its values are what the test says at the moment."""

    def __init__(self) -> None:
        super().__init__(lambda _text, _index: self.value)
        self.value = 0.5


def canary_of(prover: ScriptedProver) -> Canary:
    return Canary(prover, ProofQueue(prover))


async def test_the_first_proof_is_made_cold_and_warm_and_later_ones_once() -> None:
    prover = Drifting()
    canary = canary_of(prover)
    await canary.prove()
    assert prover.num_calls == 2
    assert len(prover.proofs[0].probes) == 4
    await canary.prove()
    assert prover.num_calls == 3
    canary.refuse_if_wrong()


async def test_other_values_of_the_same_weights_stop_the_service_until_new_weights_are_there() -> None:
    prover = Drifting()
    scorer = Scorer(prover, {"word": WordGrader()}, speller)
    await scorer.canary.prove()
    prover.value = 0.1
    await scorer.canary.prove()
    trace = Trace("a", problem="p", completion="<think>\na</think>\n\\boxed{42}", answer=("42",))
    with pytest.raises(ProverUnavailable, match=r"cannot be trusted: a trace .* nats away") as raised:
        await scorer.score([trace], ScoreOptions())
    assert raised.value.code == "canary_changed"
    # Right again is not right: nobody knows what happened.
    prover.value = 0.5
    await scorer.canary.prove()
    with pytest.raises(ProverUnavailable):
        scorer.canary.refuse_if_wrong()
    prover.version = "2"
    # At once, and not only when the trace is proved again.
    scorer.canary.refuse_if_wrong()
    await scorer.canary.prove()
    scorer.canary.refuse_if_wrong()
    await scorer.close()


async def test_values_that_differ_cold_and_warm_are_found_at_once() -> None:
    prover = ScriptedProver(lambda _text, _index: 0.5 if prover.num_calls == 1 else 0.1)
    canary = canary_of(prover)
    await canary.prove()
    with pytest.raises(ProverUnavailable, match="cannot be trusted"):
        canary.refuse_if_wrong()


@pytest.mark.parametrize(("code", "wrong"), [("broken_logprobs", True), ("non_finite_logits", True), ("other", False)])
async def test_numbers_that_cannot_be_right_are_a_problem_and_other_failures_are_not(code: str, wrong: bool) -> None:
    class Failing(ScriptedProver):
        async def prove(self, proof: object) -> None:  # type: ignore[override]
            raise ProverError("told to fail", code=code)

    canary = canary_of(Failing([]))
    await canary.prove()
    assert (canary.problem is not None) == wrong


async def test_watching_proves_again_and_again_or_never() -> None:
    prover = Drifting()
    canary = canary_of(prover)
    await asyncio.wait_for(canary.watch(0), 5)
    assert prover.num_calls == 0
    watching = asyncio.create_task(canary.watch(0.001))
    while prover.num_calls < 4:  # noqa: ASYNC110 - the task's own pace
        await asyncio.sleep(0.001)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
