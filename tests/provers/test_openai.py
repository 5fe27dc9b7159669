from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.responses import JSONResponse, Response

from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, RolloutQuery, SpellingIds
from mrt_reward.provers import asking
from mrt_reward.provers.endpoint import MAX_IN_FLIGHT, Backoff, Usage
from mrt_reward.provers.openai import ONE_CLOSE_NOTE, UNKNOWN_VERSION, OpenAIProver
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.wiring import build_prover
from tests.provers.fake_endpoint import END_ID, KEY, FakeEndpoint, rule
from tests.provers.test_transformers import rollouts

# 7 8 9 and 7 8 share their nodes: 4 nodes, of which 9, 8 and 12 end a spelling.
SPELLINGS = (SpellingIds((7, 8, 9), (10, 11)), SpellingIds((7, 8), (10,)), SpellingIds((12,), (13, 14, 15)))
LIKELIHOOD = LikelihoodQuery(SPELLINGS)
SAMPLED = RolloutQuery(num_samples=3, temperature=1.0, top_p=1.0, max_tokens=6, stop_at_close=False)
NO_WAIT = Backoff(max_tries=3, base_s=0.0, max_wait_s=0.0)


def make_proof(cuts: Sequence[int], query: LikelihoodQuery | RolloutQuery = LIKELIHOOD, *, seed: int = 0) -> Proof:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 300, size=max(cuts), dtype=np.int32)
    probes = tuple(Probe(cut, (1, 2 + index), seed=1000 * seed + index) for index, cut in enumerate(cuts))
    return Proof(ids, probes, query)


def prefix_of(proof: Proof, probe: Probe) -> list[int]:
    return [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]


def expected(proof: Proof, *, num_closes: int | None = None) -> list[list[float]]:
    """The rule's own sums; with all closes, or with the plainest only (in these spellings the first)."""
    rows: list[list[float]] = []
    for probe in proof.probes:
        row: list[float] = []
        for spelling in SPELLINGS:
            ids = prefix_of(proof, probe)
            total = 0.0
            for token in spelling.ids:
                total += rule(ids)[token]
                ids.append(token)
            row.append(total + math.log(sum(math.exp(rule(ids)[token]) for token in spelling.close[:num_closes])))
        rows.append(row)
    return rows


@pytest.fixture
def vllm(tokenizer: HFTokenizer) -> FakeEndpoint:
    return FakeEndpoint("vllm", tokenizer)


def prover_of(fake: FakeEndpoint, folder: Path, *, model: str | None = None, **options: Any) -> OpenAIProver:
    if fake.dialect == "llama":
        options.setdefault("max_model_len", 4096)
    options = {"transport": fake.transport, "backoff": NO_WAIT, **options}
    return OpenAIProver("http://engine:9/v1/", tokenizer=folder, model=model, **options)


async def prove_one(prover: OpenAIProver, proof: Proof) -> Proven:
    [proven] = await prover.prove([proof])
    assert isinstance(proven, Proven), proven
    return proven


async def failure_of(prover: OpenAIProver, proof: Proof) -> ProverError:
    [error] = await prover.prove([proof])
    assert isinstance(error, ProverError)
    return error


def likelihoods(proven: Proven) -> list[list[float]]:
    return [list(answer.spelling_logprobs) for answer in proven.answers]


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
    assert prover.info.note == ONE_CLOSE_NOTE
    fake.asked.clear()
    plainest = [min(spelling.close, key=lambda token: len(tokenizer.decode([token]))) for spelling in SPELLINGS]
    assert plainest == [spelling.close[0] for spelling in SPELLINGS]
    np.testing.assert_allclose(likelihoods(await prove_one(prover, proof)), expected(proof, num_closes=1), atol=1e-9)
    assert [len(body["prompt"]) for _, body in fake.asked] == [2 * 3]
    await prover.close()


async def test_a_server_that_tells_no_probabilities_refuses_likelihood_only(
    tokenizer: HFTokenizer, qwen_dir: Path
) -> None:
    prover = prover_of(FakeEndpoint("llama", tokenizer), qwen_dir)
    error = await failure_of(prover, make_proof([5]))
    assert error.code == "unsupported_query"
    assert "rollouts" in str(error)
    assert len((await prove_one(prover, make_proof([5], SAMPLED))).answers[0].completions) == 3


@pytest.mark.parametrize(
    ("dialect", "num_requests", "num_prompts"), [("vllm", 1, 3), ("sglang", 1, 3), ("llama", 9, 1)]
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


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llama"])
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


@pytest.mark.parametrize("dialect", ["vllm", "llama"])
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


async def test_missing_settings_are_named(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    fake = FakeEndpoint("llama", tokenizer)
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


async def test_a_strict_server_is_asked_without_the_fields_it_refuses(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    vllm.refused_fields = {"top_k"}
    await prove_one(prover_of(vllm, qwen_dir), make_proof([5], SAMPLED))
    assert "top_k" not in vllm.asked[-1][1]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_fails_for_a_while_is_asked_again(vllm: FakeEndpoint, qwen_dir: Path, status: int) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response(status_code=status, headers={"Retry-After": "0"})] * 2
    await prove_one(prover, make_proof([5], SAMPLED))
    vllm.replies += [Response(status_code=status)] * 3
    with pytest.raises(ProverUnavailable, match=f"HTTP {status}.*3 tries"):
        await prover.prove([make_proof([5], SAMPLED)])
    vllm.replies += [Response(status_code=status)] * 3
    mixed = await prover.prove([make_proof([5], SAMPLED), make_proof([6], SAMPLED, seed=1)])
    assert Proven in map(type, mixed)


def test_a_longer_wait_that_the_server_asks_for_wins() -> None:
    backoff = Backoff(base_s=0.5, max_wait_s=20.0)
    assert all(0 <= backoff.wait_s(1, 0.0) <= 1.0 for _ in range(20))
    assert backoff.wait_s(1, 7.0) == 7.0
    assert backoff.wait_s(1, 99.0) == 20.0


def failing(error: type[httpx.HTTPError]) -> httpx.MockTransport:
    def handle(_: httpx.Request) -> httpx.Response:
        raise error("nothing there")

    return httpx.MockTransport(handle)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (httpx.ConnectError, "no server at http://engine:9.*engine_url"),
        (httpx.ReadError, "the reply was lost"),
        (httpx.ReadTimeout, "no reply from http://engine:9 within 600 s"),
    ],
)
async def test_no_server_is_unavailable(qwen_dir: Path, error: type[httpx.HTTPError], told: str) -> None:
    prover = OpenAIProver("http://engine:9", tokenizer=qwen_dir, transport=failing(error), backoff=NO_WAIT)
    with pytest.raises(ProverUnavailable, match=told):
        await prover.check()
    with pytest.raises(ProverUnavailable, match=told):
        await prover.prove([make_proof([5])])


def _drop_first(reply: dict[str, Any]) -> Any:
    return {**reply, "choices": reply["choices"][1:]}


def _with_logprobs(value: float | None) -> Any:
    def change(reply: dict[str, Any]) -> str:
        for choice in reply["choices"]:
            for top in choice["logprobs"]["top_logprobs"]:
                for name in top:
                    top[name] = value
        return json.dumps(reply)

    return change


def _without_tokens(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        choice["logprobs"]["top_logprobs"] = [{}]
        choice["logprobs"]["tokens"] = ["x"]
    return reply


def _aborted(reply: dict[str, Any]) -> Any:
    return {**reply, "choices": [{**choice, "finish_reason": "abort"} for choice in reply["choices"]]}


@pytest.mark.parametrize(
    ("query", "change", "told"),
    [
        (SAMPLED, lambda _: "{", "is not OpenAI's Completions"),
        (SAMPLED, lambda _: "[]", "is not OpenAI's Completions"),
        (SAMPLED, lambda _: "{}", "choices"),
        (SAMPLED, _drop_first, "sent 2"),
        (SAMPLED, _aborted, "gave a completion up"),
        (SAMPLED, _without_tokens, "does not any more"),
        (LIKELIHOOD, _with_logprobs(math.nan), "is not OpenAI's Completions"),
        (LIKELIHOOD, _with_logprobs(-math.inf), "is not OpenAI's Completions"),
        (LIKELIHOOD, _with_logprobs(None), "is not OpenAI's Completions"),
        (LIKELIHOOD, _with_logprobs(0.5), "at most 0"),
        (LIKELIHOOD, _without_tokens, "did not tell it"),
    ],
)
async def test_a_broken_reply_is_an_error_and_never_a_number(
    vllm: FakeEndpoint, qwen_dir: Path, query: Any, change: Any, told: str
) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.changed = change
    error = await failure_of(prover, make_proof([5], query))
    assert told in str(error)
    assert type(error) is ProverError


def _echo_of_another_length(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        choice["logprobs"]["token_logprobs"] = choice["logprobs"]["token_logprobs"][3:]
    return reply


def _echo_with_a_gap(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        choice["logprobs"]["token_logprobs"][-2:-1] = [None]
    return reply


@pytest.mark.parametrize(("change", "told"), [(_echo_of_another_length, "rated"), (_echo_with_a_gap, "gave None")])
async def test_a_broken_echo_is_an_error(tokenizer: HFTokenizer, qwen_dir: Path, change: Any, told: str) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    fake.changed = change
    assert told in str(await failure_of(prover, make_proof([5])))


@pytest.mark.parametrize("change", [_echo_of_another_length, _echo_with_a_gap, _without_tokens])
async def test_an_endpoint_whose_probabilities_are_not_the_models_is_not_believed(
    tokenizer: HFTokenizer, qwen_dir: Path, change: Any
) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    fake.changed = lambda reply: change(reply) if "logprobs" in reply["choices"][0] else reply
    assert (await failure_of(prover_of(fake, qwen_dir), make_proof([5]))).code == "unsupported_query"


def _ids_of_other_tokens(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        logprobs = choice.get("logprobs", {"top_logprobs": []})
        logprobs["top_logprobs"] = [dict.fromkeys(top, -1.5) for top in logprobs["top_logprobs"] if top]
    return reply


def _names_that_are_no_token(reply: dict[str, Any]) -> Any:
    for choice in reply["choices"]:
        if "logprobs" in choice:
            choice["logprobs"]["tokens"] = ["\ud800"]
    return reply


async def test_token_probabilities_that_contradict_the_servers_own_are_not_believed(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    # The echo is still right, so it is what counts.
    vllm.changed = _ids_of_other_tokens
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    assert prover.info.note == ONE_CLOSE_NOTE


@pytest.mark.parametrize("kind", ["refused_fields", "ignored_fields"])
async def test_fields_that_are_refused_or_ignored_are_no_likelihood(
    vllm: FakeEndpoint, qwen_dir: Path, kind: str
) -> None:
    setattr(vllm, kind, {"echo", "logprob_token_ids"})
    prover = prover_of(vllm, qwen_dir)
    assert (await failure_of(prover, make_proof([5]))).code == "unsupported_query"
    setattr(vllm, kind, set())
    # What was found out holds for the life of the prover.
    assert (await failure_of(prover, make_proof([5]))).code == "unsupported_query"


async def test_an_endpoint_that_leaves_while_it_is_asked_what_it_can_is_asked_again_later(
    vllm: FakeEndpoint, qwen_dir: Path
) -> None:
    prover = prover_of(vllm, qwen_dir)
    # Five questions: its fields, lists and samples, ids, the best token, that token's probability.
    for num_answered in range(5):
        vllm.asked.clear()
        vllm.changed = _leaving_after(vllm, num_answered)
        with pytest.raises(ProverUnavailable):
            await prover.check()
        assert prover.info.version == UNKNOWN_VERSION
        vllm.replies.clear()
    vllm.changed = lambda reply: reply
    await prove_one(prover, make_proof([5]))


def _leaving_after(fake: FakeEndpoint, num_answered: int) -> Any:
    if num_answered == 0:
        fake.replies += [Response(status_code=503)] * 3

    def change(reply: dict[str, Any]) -> Any:
        if len(fake.asked) == num_answered:
            fake.replies += [Response(status_code=503)] * 3
        return reply

    return change


async def test_a_best_token_that_cannot_be_known_means_no_likelihood(tokenizer: HFTokenizer, qwen_dir: Path) -> None:
    fake = FakeEndpoint("sglang", tokenizer)
    fake.changed = lambda reply: json.dumps(_names_that_are_no_token(reply))
    assert (await failure_of(prover_of(fake, qwen_dir), make_proof([5]))).code == "unsupported_query"


@pytest.mark.parametrize("limits", [{"MAX_PROMPTS": 2}, {"MAX_REQUEST_TOKENS": 40}])
async def test_many_prompts_go_in_several_requests_with_one_seed(
    vllm: FakeEndpoint, qwen_dir: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int]
) -> None:
    prover, proof = prover_of(vllm, qwen_dir), make_proof([5, 20, 33], SAMPLED)
    whole = await prove_one(prover, proof)
    for name, limit in limits.items():
        monkeypatch.setattr(asking, name, limit)
    vllm.asked.clear()
    assert (await prove_one(prover, proof)).answers == whole.answers
    assert len(vllm.asked) == 2
    assert len({body["seed"] for _, body in vllm.asked}) == 1


async def test_a_server_error_is_not_asked_again(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.replies += [Response("boom", 500)]
    assert "HTTP 500: boom" in str(await failure_of(prover, make_proof([5], SAMPLED)))
    vllm.replies += [Response("boom", 500)]
    with pytest.raises(ProverUnavailable, match="cannot generate"):
        await prover.check()
    vllm.replies += [Response("boom", 500)] * 2
    with pytest.raises(ProverUnavailable, match="cannot be used"):
        await prover_of(vllm, qwen_dir).check()


async def test_leaving_closes_the_requests(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.hang = True
    proving = asyncio.create_task(_prove(prover, [make_proof([5, 20]), make_proof([6], SAMPLED, seed=1)]))
    while vllm.num_running < 3:  # noqa: ASYNC110 - a few turns of the loop
        await asyncio.sleep(0)
    proving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await proving
    assert (vllm.closed, vllm.num_running) == (3, 0)


async def _prove(prover: OpenAIProver, proofs: Sequence[Proof]) -> object:
    return await prover.prove(proofs)


async def test_the_key_is_sent_and_never_shown(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir, api_key=KEY)
    await prover.check()
    assert vllm.asked[-1][0]["authorization"] == f"Bearer {KEY}"
    vllm.replies += [JSONResponse({"error": {"message": f"wrong key {KEY}"}}, 401)]
    error = await failure_of(prover, make_proof([5], SAMPLED))
    assert error.code == "engine_key_refused"
    assert KEY not in str(error)
    assert "MRT_REWARD_ENGINE_API_KEY" in str(error)
    vllm.replies += [JSONResponse({"error": {"message": f"wrong key {KEY}"}}, 403)] * 2
    with pytest.raises(ProverUnavailable, match="MRT_REWARD_ENGINE_API_KEY") as caught:
        await prover_of(vllm, qwen_dir, api_key=KEY).check()
    assert KEY not in str(caught.value)
    vllm.replies.clear()
    vllm.changed = lambda _: json.dumps(KEY)
    assert KEY not in str(await failure_of(prover, make_proof([5], SAMPLED)))


def test_cached_tokens_are_not_computed() -> None:
    usage = Usage.model_validate(
        {"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 90}}
    )
    assert usage.computed_tokens == 17


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
