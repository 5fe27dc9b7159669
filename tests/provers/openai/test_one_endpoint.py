"""An endpoint that is alone is never left out, and says whether it answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.responses import Response

from mrt_reward.errors import ProverUnavailable
from mrt_reward.protocols import EndpointState
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import SAMPLED, make_proof, prover_of
from tests.provers.proving import failure_of


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
    assert prover.endpoints == (EndpointState(shown, True, num_proofs=2, num_failures=1),)
    await prover.close()


async def test_a_refusal_is_an_answer(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response("bad question", 500)]
    await failure_of(prover, make_proof([5], SAMPLED))
    assert prover.endpoints == (EndpointState("http://engine:9", True),)
    await prover.close()
