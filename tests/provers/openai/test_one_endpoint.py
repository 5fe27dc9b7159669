"""An endpoint that is alone says whether it answered, and is left alone while it keeps failing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.responses import Response

from mrt_reward.backoff import Backoff
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverUnavailable
from mrt_reward.protocols import EndpointState
from mrt_reward.provers.openai.breaker import MAX_FAILURES
from mrt_reward.provers.openai.prover import OpenAIProver
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import NO_WAIT, SAMPLED, make_proof, prover_of
from tests.provers.openai.switchboard import Switchboard
from tests.provers.proving import failure_of


@dataclass(frozen=True)
class Endless(Backoff):
    """Waits for a day."""

    def wait_s(self, num_tries: int, least_s: float) -> float:
        return 86_400.0


async def test_it_is_up_once_it_answers_and_down_once_it_does_not(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover, shown = prover_of(vllm, qwen_dir), "http://engine:9"
    assert prover.endpoints == (EndpointState(shown, False, "not asked yet"),)
    await prover.check()
    await prover.prove(make_proof([5], SAMPLED))
    assert prover.endpoints == (EndpointState(shown, True, num_proofs=1),)
    vllm.replies += [Response(status_code=503)] * 3
    with pytest.raises(ProverUnavailable):
        await prover.prove(make_proof([5], SAMPLED))
    [state] = prover.endpoints
    assert (state.up, state.num_proofs, state.num_failures) == (False, 1, 1)
    assert "HTTP 503" in state.problem
    # It is asked all the same, because nobody else is there.
    await prover.prove(make_proof([5], SAMPLED))
    assert prover.endpoints == (EndpointState(shown, True, num_proofs=2, num_failures=1, num_retries=2),)
    await prover.close()


async def test_a_refusal_is_an_answer(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response("bad question", 500)]
    await failure_of(prover, make_proof([5], SAMPLED))
    assert prover.endpoints == (EndpointState("http://engine:9", True),)
    await prover.close()


async def test_one_that_keeps_failing_is_asked_no_more_until_its_wait_is_over(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    switchboard = Switchboard({"engine": vllm.transport})
    settings = EngineSettings(engine_url="http://engine:9", tokenizer=str(qwen_dir))
    # One try a question, and a wait that no test outlasts.
    prover = OpenAIProver(settings, transport=switchboard, backoff=Endless(max_tries=1))
    await prover.check()
    switchboard.down.add("engine")
    for _ in range(MAX_FAILURES):
        with pytest.raises(ProverUnavailable, match="no server"):
            await prover.prove(make_proof([5], SAMPLED))
    num_tries = len(switchboard.tries)
    switchboard.down.clear()
    for ask in (lambda: prover.prove(make_proof([5], SAMPLED)), prover.check):
        with pytest.raises(ProverUnavailable, match="times in a row"):
            await ask()
    assert len(switchboard.tries) == num_tries
    await prover.close()


async def test_one_that_comes_back_proves_again(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    switchboard = Switchboard({"engine": vllm.transport})
    settings = EngineSettings(engine_url="http://engine:9", tokenizer=str(qwen_dir))
    prover = OpenAIProver(settings, transport=switchboard, backoff=NO_WAIT)
    await prover.check()
    switchboard.down.add("engine")
    for _ in range(2 * MAX_FAILURES):
        with pytest.raises(ProverUnavailable):
            await prover.prove(make_proof([5], SAMPLED))
    switchboard.down.clear()
    await prover.prove(make_proof([5], SAMPLED))
    assert prover.endpoints[0].up
    await prover.close()
