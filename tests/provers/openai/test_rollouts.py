"""Sampled answers: what they are, where they end, how probable they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.hf.plain import rollouts
from tests.provers.openai.fake_endpoint import END_ID, FakeEndpoint, rule
from tests.provers.openai.kit import LIKELIHOOD, SAMPLED, make_proof, prefix_of, prover_of
from tests.provers.proving import failure_of


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
    # The server may hold less than it reported.
    fake.max_model_len = 20
    assert (await failure_of(prover, make_proof([5, 30], SAMPLED))).code == "context_length_exceeded"


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
        reported = [-1.0] * len(inside) + [-3.0] * len(after)
        logprobs = {"tokens": [f"token_id:{token}" for token in ids], "token_logprobs": reported}
        for choice in reply["choices"]:
            choice |= {"text": tokenizer.decode(ids), "finish_reason": "length"}
            if dialect == "vllm":
                choice["logprobs"] = logprobs
        return reply

    fake.changed = say
    [answer] = (await prover.prove(make_proof([5], rollouts(2, stop_at_close=boxed, logprobs=True)))).answers
    assert len(answer.completions) == 2
    assert answer.completion_logprobs == (() if expected is None else pytest.approx((expected, expected)))
