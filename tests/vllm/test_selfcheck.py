"""Before an engine's first answer counts, it is compared with a plain pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mrt_reward.errors import ProverError
from tests.provers.proving import prove_all
from tests.vllm.conftest import island_traces, logprobs, proofs_of

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_self_check_falls_back_to_single_steps_and_then_refuses(prover: VLLMProver) -> None:
    from mrt_reward.provers.vllm.probes import ProbeRunner  # noqa: PLC0415
    from mrt_reward.provers.vllm.selfcheck import verify  # noqa: PLC0415

    class Lying(ProbeRunner):
        """Tells 0 nats for what it forced, as an engine does that reads log-probabilities after masking."""

        always = False

        async def forced_steps(self, prompt: Any, path: Any) -> Any:
            steps, num_tokens = await super().forced_steps(prompt, path)
            lies = [dict.fromkeys(step, 0.0) for step in steps]
            return (lies if self.ways.forced or self.always else steps), num_tokens

    serving = prover._serving
    runner = Lying(serving.engine, serving.stops, "lying")
    await verify(runner, serving.engine, prover.tokenizer, "lying")
    assert not runner.ways.forced
    proofs = proofs_of(island_traces(1), prover.tokenizer)
    answers, _ = await runner.prove(proofs[0])
    np.testing.assert_allclose(
        [value for answer in answers for value in answer.spelling_logprobs],
        logprobs(await prove_all(prover, proofs)),
        atol=1e-4,
    )
    runner.always = True
    with pytest.raises(ProverError, match="differ from a plain pass") as raised:
        await verify(runner, serving.engine, prover.tokenizer, "lying")
    assert raised.value.code == "self_check_failed"
