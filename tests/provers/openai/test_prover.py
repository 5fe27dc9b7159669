from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrt_reward.config import load_settings
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.protocols import Probe, Proof
from mrt_reward.provers.openai.prover import UNKNOWN_VERSION, OpenAIProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.wiring import build_prover
from tests.provers.hf.plain import rollouts
from tests.provers.openai.fake_endpoint import END_ID, KEY, FakeEndpoint, rule
from tests.provers.openai.kit import (
    LIKELIHOOD,
    SAMPLED,
    make_proof,
    prefix_of,
    prover_of,
)
from tests.provers.proving import failure_of, prove_all


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llama", "plain"])
async def test_answers_are_what_the_model_says_for_each_probe(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str
) -> None:
    proof = make_proof([5, 20, 33], rollouts(2, max_tokens=5))
    proven = await prover_of(FakeEndpoint(dialect, tokenizer), qwen_dir).prove(proof)
    for probe, answer in zip(proof.probes, proven.answers, strict=True):
        ids = prefix_of(proof, probe)
        for _ in range(5):
            ids.append(int(rule(ids).argmax()))
        said = ids[-5:]
        text = tokenizer.decode(said[: said.index(END_ID)] if END_ID in said else said)
        assert [tokenizer.decode(completion) for completion in answer.completions] == [text, text]
        if dialect == "vllm":
            assert answer.completions[0] == tuple(said[: said.index(END_ID)] if END_ID in said else said)


@pytest.mark.parametrize("dialect", ["vllm", "llama", "plain"])
async def test_the_same_probes_give_the_same_answers_and_other_seeds_others(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str
) -> None:
    proof = make_proof([5, 20], SAMPLED)
    first = await prover_of(FakeEndpoint(dialect, tokenizer), qwen_dir).prove(proof)
    fake = FakeEndpoint(dialect, tokenizer)
    again = prover_of(fake, qwen_dir)
    together = await prove_all(again, [make_proof([9], SAMPLED, seed=3), proof])
    assert together[1] == first
    # The shortest prefix may be known already: the others' answers do not change with it.
    tail = Proof(proof.token_ids, proof.probes[1:], SAMPLED)
    assert (await again.prove(tail)).answers == first.answers[1:]
    other = Proof(proof.token_ids, tuple(Probe(p.cut, p.suffix, p.seed + 77) for p in proof.probes), SAMPLED)
    assert (await again.prove(other)).answers != first.answers
    assert len(set(first.answers[0].completions)) == 3


@pytest.mark.parametrize("dialect", ["vllm", "sglang"])
async def test_an_answer_ends_when_its_braces_balance(tokenizer: HFTokenizer, qwen_dir: Path, dialect: str) -> None:
    fake = FakeEndpoint(dialect, tokenizer)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    text = "{\\frac{1}{2}} and more {x}"
    ids = tokenizer.encode_untrusted(text).ids.tolist()

    def say(reply: dict[str, Any]) -> dict[str, Any]:
        logprobs = {"tokens": [f"token_id:{token}" for token in ids], "token_logprobs": [-1.0] * len(ids)}
        for choice in reply["choices"]:
            choice |= {"text": text, "finish_reason": "length", "logprobs": logprobs}
        return reply

    fake.changed = say
    [answer] = (await prover.prove(make_proof([5], rollouts(1, stop_at_close=True)))).answers
    assert tokenizer.decode(answer.completions[0]).startswith("{\\frac{1}{2}}")
    assert "more" not in tokenizer.decode(answer.completions[0])
    [answer] = (await prover.prove(make_proof([5], rollouts(1)))).answers
    assert tokenizer.decode(answer.completions[0]) == text


async def test_probes_near_the_end_of_the_context_get_the_room_that_is_left(
    tokenizer: HFTokenizer, qwen_dir: Path
) -> None:
    fake = FakeEndpoint("vllm", tokenizer, max_model_len=40)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    fake.asked.clear()
    await prover.prove(make_proof([5, 20, 35], SAMPLED))
    assert sorted(body["max_tokens"] for _, body in fake.asked) == [3, 6]
    for query in (SAMPLED, LIKELIHOOD):
        error = await failure_of(prover, make_proof([5, 38], query))
        assert (error.code, "40" in str(error)) == ("context_length_exceeded", True)
    # The server may hold less than it told.
    fake.max_model_len = 20
    assert (await failure_of(prover, make_proof([5, 30], SAMPLED))).code == "context_length_exceeded"


async def test_a_trace_keeps_its_session_and_others_have_theirs(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.asked.clear()
    await prove_all(prover, [make_proof([5, 20], seed=seed) for seed in (1, 2, 1)])
    sessions = [headers["x-session-id"] for headers, _ in vllm.asked]
    assert len(sessions) == 6
    assert len(set(sessions)) == 2
    assert sorted(map(sessions.count, set(sessions))) == [2, 4]


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


async def test_settings_build_it(qwen_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRT_REWARD_ENGINE_API_KEY", KEY)
    settings = load_settings(engine="openai", engine_url="http://engine:9", tokenizer=str(qwen_dir), model="m")
    assert KEY not in repr(settings)
    prover = build_prover(settings)
    assert (prover.info.engine, prover.info.model) == ("openai", "m")
    await prover.close()
    with pytest.raises(ConfigError, match="engine_url is missing"):
        build_prover(load_settings(engine="openai"))
    with pytest.raises(ConfigError, match="tokenizer is missing"):
        build_prover(load_settings(engine="openai", engine_url="http://engine:9"))
