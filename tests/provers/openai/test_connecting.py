"""Who answers at an endpoint, how long its context is, and which settings that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.provers.openai.prover import UNKNOWN_VERSION, OpenAIProver
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import SAMPLED, make_proof, prover_of
from tests.provers.proving import failure_of


async def test_identity_is_what_the_endpoint_tells_and_the_operator_adds(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    assert prover.info.version == UNKNOWN_VERSION
    await prover.check()
    first = prover.info
    assert (first.model, first.engine, first.max_tokens, first.note) == ("m", "openai", 4096, "")
    # `created` is the time of the request in all three servers: it is not part of the identity.
    await prover.check()
    assert prover.info == first
    vllm.models[0]["root"] = "/models/other"
    await prover.check()
    assert prover.info.version != first.version
    vllm.models[0]["root"] = "/models/m"
    named = prover_of(vllm, qwen_dir, model="m", engine_version="step-100", max_model_len=512)
    await named.check()
    assert named.info.version != first.version
    assert named.info.max_tokens == 512
    assert named.num_slots == 32
    assert named.tokenizer.sha256 == HFTokenizer(qwen_dir).sha256


@pytest.mark.parametrize("dialect", ["vllm", "llama"])
async def test_a_context_that_the_server_tells_need_not_be_given(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str
) -> None:
    prover = prover_of(FakeEndpoint(dialect, tokenizer, max_model_len=300), qwen_dir, max_model_len=None)
    await prover.check()
    assert prover.info.max_tokens == 300


async def test_missing_settings_are_named(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    fake = FakeEndpoint("plain", tokenizer)
    prover = prover_of(fake, qwen_dir, max_model_len=None)
    with pytest.raises(ConfigError, match="max_model_len"):
        await prover.check()
    assert (await failure_of(prover, make_proof([5], SAMPLED))).param == "max_model_len"
    with pytest.raises(ConfigError, match="no model 'x', but m"):
        await prover_of(fake, qwen_dir, model="x").check()
    fake.models.append({"id": "n"})
    with pytest.raises(ConfigError, match="2 models"):
        await prover_of(fake, qwen_dir).check()
    for url in ("engine:8000", "ftp://engine", "http://", "http://engine:port", "/v1"):
        with pytest.raises(ConfigError, match="engine_url"):
            OpenAIProver(EngineSettings(engine_url=url, tokenizer=str(qwen_dir)))
