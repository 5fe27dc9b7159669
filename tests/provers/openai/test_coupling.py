"""Whether a seed couples: what is asked, how agreement is judged against chance, and what is done with the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import Response

from mrt_reward.errors import ProverUnavailable
from mrt_reward.provers.openai.coupling import ANSWERS, NUM_ANSWERS, Agreement, agreement
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import SAMPLED, make_proof, prover_of
from tests.provers.proving import failure_of

COUPLED = replace(SAMPLED, coupled=True)


def test_agreement_is_counted_m_by_m_and_chance_over_all_other_pairs() -> None:
    # Equal at m = 0 and 1. Of the six pairs of an m-th and another answer, a-b, a-c, b-a, b-c, c-a and c-b, the
    # answers of the last two are b-a and b-b.
    found = agreement(["a", "b", "b"], ["a", "b", "c"])
    assert (found.share, found.chance) == (2 / 3, 1 / 6)
    assert found.beyond_chance == pytest.approx((2 / 3 - 1 / 6) / (5 / 6))
    assert agreement(["a", "a"], ["a", "a"]).beyond_chance == 0.0


def test_agreement_that_chance_may_bring_is_not_coupling() -> None:
    # Half of the pairs agree by chance: √(1/4 · 1/32) = 0.088 is one deviation, so 0.85 is 4 of them and 0.95 is 5.1.
    assert not Agreement(0.85, 0.5, 32).coupled
    assert Agreement(0.95, 0.5, 32).coupled
    # Sure, and too little to be of use.
    assert not Agreement(0.4, 0.01, 10_000).coupled
    assert not Agreement(1.0, 1.0, 32).coupled


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "llama", "plain"])
async def test_a_seed_of_each_answers_own_tokens_couples(tokenizer: HFTokenizer, qwen_dir: Path, dialect: str) -> None:
    fake = FakeEndpoint(dialect, tokenizer)
    fake.memory = 3
    prover = prover_of(fake, qwen_dir)
    assert prover.info.coupled == "unknown"
    await prover.check()
    assert prover.info.coupled == "endpoint"
    # What follows three tokens is all that this model knows: so these probes get the same answers.
    proof = make_proof([20, 33], COUPLED)
    probes = tuple(replace(probe, suffix=(1, 2, 3), seed=5) for probe in proof.probes)
    one, other = (await prover.prove(replace(proof, probes=probes))).answers
    assert one == other
    assert len(set(one.completions)) == 3


@pytest.mark.parametrize("seeding", ["place", "request", "same", "ignored"])
@pytest.mark.parametrize("dialect", ["vllm", "plain"])
async def test_other_seeds_do_not_couple_and_coupled_answers_are_refused(
    tokenizer: HFTokenizer, qwen_dir: Path, dialect: str, seeding: str
) -> None:
    fake = FakeEndpoint(dialect, tokenizer)
    fake.memory, fake.seeding = 3, seeding
    prover = prover_of(fake, qwen_dir)
    await prover.check()
    # A server that takes one answer a request is sent another seed for each, which may well be all that it needs.
    couples = dialect == "plain" and seeding in ("request", "same")
    assert prover.info.coupled == ("endpoint" if couples else "none")
    if couples:
        return
    fake.asked.clear()
    failure = await failure_of(prover, make_proof([5], COUPLED))
    assert (failure.code, failure.param) == ("unsupported_query", "options.estimator.coupled")
    assert fake.asked == []
    # Greedy answers need no noise, and plain ones are drawn as ever.
    await prover.prove(make_proof([5], replace(COUPLED, temperature=0.0)))
    assert len((await prover.prove(make_proof([5], SAMPLED))).answers[0].completions) == 3


@pytest.mark.parametrize("answers", ["alike", "missing"])
async def test_answers_that_are_all_alike_or_missing_tell_nothing(
    vllm: FakeEndpoint, qwen_dir: Path, answers: str
) -> None:
    def change(reply: dict[str, list[dict[str, object]]]) -> object:
        if answers == "alike":
            return {**reply, "choices": [{**choice, "text": "x"} for choice in reply["choices"]]}
        return {**reply, "choices": []} if vllm.asked[-1][1]["max_tokens"] == ANSWERS.max_tokens else reply

    vllm.memory, vllm.changed = 3, change
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    assert prover.info.coupled == "none"


async def test_an_endpoint_that_leaves_meanwhile_is_asked_again_later(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    def change(reply: dict[str, list[object]]) -> object:
        if len(reply["choices"]) == 2 * NUM_ANSWERS:
            vllm.replies += [Response(status_code=503)] * 3
        return reply

    vllm.memory, vllm.changed = 3, change
    prover = prover_of(vllm, qwen_dir)
    with pytest.raises(ProverUnavailable):
        await prover.check()
    assert prover.info.coupled == "unknown"
    vllm.changed = lambda reply: reply
    await prover.check()
    assert prover.info.coupled == "endpoint"
