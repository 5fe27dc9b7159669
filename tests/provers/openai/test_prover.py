from __future__ import annotations

from pathlib import Path

import pytest

from mrt_reward.config import load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.protocols import Probe, Proof
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.wiring import build_prover
from tests.provers.openai.fake_endpoint import KEY, FakeEndpoint
from tests.provers.openai.kit import (
    SAMPLED,
    make_proof,
    prover_of,
)
from tests.provers.proving import prove_all


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


async def test_a_trace_keeps_its_session_and_others_have_theirs(vllm: FakeEndpoint, qwen_dir: Path) -> None:
    prover = prover_of(vllm, qwen_dir)
    await prover.check()
    vllm.asked.clear()
    await prove_all(prover, [make_proof([5, 20], seed=seed) for seed in (1, 2, 1)])
    sessions = [headers["x-session-id"] for headers, _ in vllm.asked]
    assert len(sessions) == 6
    assert len(set(sessions)) == 2
    assert sorted(map(sessions.count, set(sessions))) == [2, 4]


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
