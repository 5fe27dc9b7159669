from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, SpellingIds
from mrt_reward.provers.openai import requests
from mrt_reward.provers.openai.dialect import LikelihoodWay
from mrt_reward.provers.openai.endpoint import MAX_IN_FLIGHT
from mrt_reward.provers.openai.prover import NOTES, UNKNOWN_VERSION, OpenAIProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.wiring import build_prover
from tests.provers.hf.plain import rollouts
from tests.provers.openai.fake_endpoint import END_ID, KEY, FakeEndpoint, rule
from tests.provers.openai.kit import (
    LIKELIHOOD,
    SAMPLED,
    SPELLINGS,
    expected,
    failure_of,
    likelihoods,
    make_proof,
    prefix_of,
    prove_one,
    prover_of,
)


async def test_likelihood_is_the_sum_over_the_spellings_tokens_and_all_their_closes(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    prover, proof = prover_of(vllm, qwen_dir), make_proof([5, 20, 33])
    await prover.check()
    vllm.asked.clear()
    proven = await prove_one(prover, proof)
    np.testing.assert_allclose(likelihoods(proven), expected(proof), atol=1e-9)
    # One request for the nodes where nothing ends (the suffix's end and 7), one for those where a spelling ends.
    assert [len(body["prompt"]) for _, body in vllm.asked] == [3 * 2, 3 * 3]
    longest = prefix_of(proof, proof.probes[-1])
    assert all(body["prompt"][0][: len(longest)] == longest for _, body in vllm.asked)
    assert proven.computed_tokens == sum(sum(map(len, body["prompt"])) + len(body["prompt"]) for _, body in vllm.asked)
    assert proven.version == prover.info.version
    await prover.close()


async def test_more_closes_than_one_request_may_name_are_asked_in_parts(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    close = tuple(range(20, 320))
    proof = make_proof([5], LikelihoodQuery((SpellingIds((7,), close),)))
    logprobs = rule([*prefix_of(proof, proof.probes[0]), 7])
    total = rule(prefix_of(proof, proof.probes[0]))[7] + math.log(np.exp(logprobs[list(close)]).sum())
    assert likelihoods(await prove_one(prover, proof)) == [[pytest.approx(total)]]


async def test_with_echo_the_plainest_close_counts(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    prover, proof = prover_of(fake, qwen_dir), make_proof([5, 20])
    await prover.check()
    assert prover.info.note == NOTES[LikelihoodWay.ECHO]
    fake.asked.clear()
    plainest = [min(spelling.close, key=lambda token: len(tokenizer.decode([token]))) for spelling in SPELLINGS]
    assert plainest == [spelling.close[0] for spelling in SPELLINGS]
    np.testing.assert_allclose(likelihoods(await prove_one(prover, proof)), expected(proof, num_closes=1), atol=1e-9)
    assert [len(body["prompt"]) for _, body in fake.asked] == [2 * 3]
    await prover.close()


@pytest.mark.parametrize("dialect", ["llama", "plain"])
async def test_a_server_that_tells_no_probabilities_refuses_likelihood_only(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str
) -> None:
    prover = prover_of(FakeEndpoint(dialect, tokenizer), qwen_dir)
    error = await failure_of(prover, make_proof([5]))
    assert error.code == "unsupported_query"
    assert "rollouts" in str(error)
    assert "rollouts" in prover.info.note
    assert len((await prove_one(prover, make_proof([5], SAMPLED))).answers[0].completions) == 3


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
    proven = await prove_one(prover, make_proof([5, 20, 33], SAMPLED))
    assert [len(answer.completions) for answer in proven.answers] == [3, 3, 3]
    assert len(fake.asked) == num_requests
    for _, body in fake.asked:
        assert (len(body["prompt"]) if isinstance(body["prompt"][0], list) else 1) == num_prompts
        # Sampling defaults of servers and models are switched off.
        assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert fake.most_running <= MAX_IN_FLIGHT
    await prover.close()


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llama", "plain"])
async def test_answers_are_what_the_model_says_for_each_probe(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str
) -> None:
    proof = make_proof([5, 20, 33], rollouts(2, max_tokens=5))
    proven = await prove_one(prover_of(FakeEndpoint(dialect, tokenizer), qwen_dir), proof)
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
    first = await prove_one(prover_of(FakeEndpoint(dialect, tokenizer), qwen_dir), proof)
    fake = FakeEndpoint(dialect, tokenizer)
    again = prover_of(fake, qwen_dir)
    together = await again.prove([make_proof([9], SAMPLED, seed=3), proof])
    assert together[1] == first
    # The shortest prefix may be known already: the others' answers do not change with it.
    tail = Proof(proof.token_ids, proof.probes[1:], SAMPLED)
    assert (await prove_one(again, tail)).answers == first.answers[1:]
    other = Proof(proof.token_ids, tuple(Probe(p.cut, p.suffix, p.seed + 77) for p in proof.probes), SAMPLED)
    assert (await prove_one(again, other)).answers != first.answers
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
    [answer] = (await prove_one(prover, make_proof([5], rollouts(1, stop_at_close=True)))).answers
    assert tokenizer.decode(answer.completions[0]).startswith("{\\frac{1}{2}}")
    assert "more" not in tokenizer.decode(answer.completions[0])
    [answer] = (await prove_one(prover, make_proof([5], rollouts(1)))).answers
    assert tokenizer.decode(answer.completions[0]) == text


@pytest.mark.parametrize(
    ("dialect", "boxed", "expected"), [("vllm", True, -1.0), ("vllm", False, -2.0), ("sglang", False, None)]
)
async def test_answers_tell_how_probable_they_were_where_the_server_does(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str, boxed: bool, expected: float | None
) -> None:
    fake = FakeEndpoint(dialect, tokenizer)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    inside, after = (tokenizer.encode_untrusted(text).ids.tolist() for text in ("{12}", " more"))
    # As many tokens of -3 after the close as of -1 before: what is cut off after it does not count.
    after = (after * len(inside))[: len(inside)]
    ids = inside + after

    def say(reply: dict[str, Any]) -> dict[str, Any]:
        told = [-1.0] * len(inside) + [-3.0] * len(after)
        logprobs = {"tokens": [f"token_id:{token}" for token in ids], "token_logprobs": told}
        for choice in reply["choices"]:
            choice |= {"text": tokenizer.decode(ids), "finish_reason": "length"}
            if dialect == "vllm":
                choice["logprobs"] = logprobs
        return reply

    fake.changed = say
    [answer] = (await prove_one(prover, make_proof([5], rollouts(2, stop_at_close=boxed, logprobs=True)))).answers
    assert len(answer.completions) == 2
    assert answer.completion_logprobs == (() if expected is None else pytest.approx((expected, expected)))


async def test_probes_near_the_end_of_the_context_get_the_room_that_is_left(
    tokenizer: HFTokenizer, qwen_dir: Path
) -> None:
    fake = FakeEndpoint("vllm", tokenizer, max_model_len=40)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    fake.asked.clear()
    await prove_one(prover, make_proof([5, 20, 35], SAMPLED))
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
    await prover.prove([make_proof([5, 20], seed=seed) for seed in (1, 2, 1)])
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
    assert (named.max_batch_tokens, named.max_concurrent_batches) == (1, 32)
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
            OpenAIProver(url, tokenizer=qwen_dir)


@pytest.mark.parametrize("limits", [{"MAX_PROMPTS": 2}, {"MAX_REQUEST_TOKENS": 40}])
async def test_many_prompts_go_in_several_requests_with_one_seed(
    vllm: FakeEndpoint, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    prover, proof = prover_of(vllm, qwen_dir), make_proof([5, 20, 33], SAMPLED)
    whole = await prove_one(prover, proof)
    for name, limit in limits.items():
        monkeypatch.setattr(requests, name, limit)
    vllm.asked.clear()
    assert (await prove_one(prover, proof)).answers == whole.answers
    assert len(vllm.asked) == 2
    assert len({body["seed"] for _, body in vllm.asked}) == 1


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
