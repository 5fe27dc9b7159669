from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.provers.openai import requests
from mrt_reward.provers.openai.endpoint import MAX_IN_FLIGHT
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import (
    SAMPLED,
    make_proof,
    prover_of,
)


@pytest.mark.parametrize(
    ("dialect", "num_requests", "num_prompts"), [("vllm", 1, 3), ("sglang", 1, 3), ("llama", 3, 3), ("plain", 9, 1)]
)
async def test_all_probes_of_a_trace_go_in_as_few_requests_as_the_server_takes(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str, num_requests: int, num_prompts: int
) -> None:
    fake = FakeEndpoint(dialect, tokenizer)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    fake.asked.clear()
    proven = await prover.prove(make_proof([5, 20, 33], SAMPLED))
    assert [len(answer.completions) for answer in proven.answers] == [3, 3, 3]
    assert len(fake.asked) == num_requests
    for _, body in fake.asked:
        assert (len(body["prompt"]) if isinstance(body["prompt"][0], list) else 1) == num_prompts
        # Sampling defaults of servers and models are switched off.
        assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert fake.most_running <= MAX_IN_FLIGHT
    await prover.close()


@pytest.mark.parametrize("limits", [{"MAX_PROMPTS": 2}, {"MAX_REQUEST_TOKENS": 40}])
async def test_many_prompts_go_in_several_requests_with_one_seed(
    vllm: FakeEndpoint, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    prover, proof = prover_of(vllm, qwen_dir), make_proof([5, 20, 33], SAMPLED)
    whole = await prover.prove(proof)
    for name, limit in limits.items():
        monkeypatch.setattr(requests, name, limit)
    vllm.asked.clear()
    assert (await prover.prove(proof)).answers == whole.answers
    assert len(vllm.asked) == 2
    assert len({body["seed"] for _, body in vllm.asked}) == 1
