"""A policy in training proves as a model of the same weights would that was loaded from disk."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverUnavailable
from mrt_reward.protocols import Proven
from mrt_reward.provers.hf.policy import PolicyProver
from mrt_reward.provers.hf.prover import TransformersProver
from tests.provers.conftest import save_model
from tests.provers.hf.plain import likelihoods, make_proof, rollouts
from tests.provers.proving import failure_of, prove_all

SAMPLED = rollouts(4, temperature=1.0, max_tokens=6, logprobs=True, coupled=True)
CUTS = [5, 40, 90]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that drops out half of its attention while it trains."""
    folder = tmp_path_factory.mktemp("policy")
    save_model(folder, "Qwen2", attention_dropout=0.5)
    return folder


def policy_of(folder: Path, dtype: torch.dtype = torch.float32, attention: str = "sdpa") -> Any:
    """As a trainer holds it: training, with checkpoints of gradients in place of kept ones."""
    load: Any = cast("Any", transformers.AutoModelForCausalLM).from_pretrained
    model = load(folder, dtype=dtype, attn_implementation=attention).train()
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.config.use_cache = False
    return model


def prover_of(policy: Any, folder: Path, **settings: Any) -> PolicyProver:
    return PolicyProver(policy, folder, EngineSettings(**settings))


def learn(policy: Any) -> None:
    """One step of training, which moves all weights."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    policy(input_ids=torch.arange(60)[None], labels=torch.arange(60)[None]).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


@contextmanager
def saved(policy: Any, folder: Path, to: Path) -> Generator[TransformersProver]:
    """The embedded engine with the weights that the policy has now, from disk."""
    policy.save_pretrained(to)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    dtype: Any = str(policy.dtype).removeprefix("torch.")
    prover = TransformersProver(EngineSettings(model=str(to), device="cpu", dtype=dtype, threads=1))
    try:
        yield prover
    finally:
        prover._worker.close()


def sampled(proven: Proven) -> list[Sequence[Sequence[int]]]:
    return [answer.completions for answer in proven.answers]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
async def test_values_are_those_of_its_weights_from_disk_before_and_after_an_update(
    folder: Path, tmp_path: Path, attention: str
) -> None:
    policy = policy_of(folder, attention=attention)
    prover = prover_of(policy, folder)
    proofs = [make_proof(CUTS), make_proof(CUTS, SAMPLED, seed=1)]
    seen: list[list[list[float]]] = []
    for step in range(2):
        with prover.proving(step), saved(policy, folder, tmp_path / str(step)) as wanted:
            found = await prove_all(prover, proofs)
            expected = await prove_all(wanted, proofs)
        np.testing.assert_allclose(likelihoods(found[0]), likelihoods(expected[0]), atol=1e-5)
        assert sampled(found[1]) == sampled(expected[1])
        assert [each.version for each in found] == [str(step)] * 2
        assert found[0].computed_tokens == expected[0].computed_tokens
        assert prover.info.version == str(step)
        seen.append(likelihoods(found[0]))
        # Training goes on: dropout, checkpoints and gradients are there as before.
        assert policy.training
        learn(policy)
    assert np.abs(np.array(seen[0]) - np.array(seen[1])).min() > 1e-3


async def test_in_bfloat16_the_logits_are_as_exact_as_those_of_a_server(folder: Path, tmp_path: Path) -> None:
    policy = policy_of(folder, torch.bfloat16)
    prover = prover_of(policy, folder)
    assert prover.info.dtype == "bfloat16"
    proof = make_proof(CUTS)
    with prover.proving(0), saved(policy, folder, tmp_path / "saved") as wanted:
        found, expected = await prover.prove(proof), await wanted.prove(proof)
    np.testing.assert_allclose(likelihoods(found), likelihoods(expected), atol=1e-4)
    learn(policy)


async def test_what_training_computes_is_as_if_nothing_had_been_proved(folder: Path) -> None:
    def trained(policy: Any) -> list[torch.Tensor]:
        torch.manual_seed(1)
        learn(policy)
        return [weights.detach().clone() for weights in policy.parameters()]

    policy = policy_of(folder)
    prover, drawn = prover_of(policy, folder), torch.get_rng_state()
    with prover.proving(0):
        await prove_all(prover, [make_proof(CUTS), make_proof(CUTS, rollouts(4, temperature=1.0))])
    # Its draws are its own.
    assert torch.get_rng_state().equal(drawn)
    pairs = zip(trained(policy), trained(policy_of(folder)), strict=True)
    assert all(torch.equal(proved, alone) for proved, alone in pairs)


async def test_it_proves_while_its_trainer_waits_and_at_no_other_time(folder: Path) -> None:
    prover = prover_of(policy_of(folder), folder)
    with pytest.raises(ProverUnavailable, match="while its trainer waits for values"):
        await prover.check()
    with prover.proving(3):
        await prover.check()
        with pytest.raises(RuntimeError, match="one caller at a time"), prover.proving(3):
            pass
    error = await failure_of(prover, make_proof([5]))
    assert isinstance(error, ProverUnavailable)
    await prover.close()
    with prover.proving(4):
        await prover.check()


async def test_what_is_still_asked_for_at_the_end_fails_and_the_module_is_given_back(folder: Path) -> None:
    policy = policy_of(folder)
    prover = prover_of(policy, folder)
    proofs = [make_proof(list(range(1000, 4000, 100)), seed=seed) for seed in range(20)]
    calls: list[asyncio.Task[Proven]] = []
    with suppress(ZeroDivisionError), prover.proving(0):
        calls += [asyncio.create_task(prover.prove(proof)) for proof in proofs]
        await asyncio.sleep(0)
        raise ZeroDivisionError
    assert policy.training
    assert policy.config._attn_implementation == "sdpa"
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} <= {Proven, ProverUnavailable}
    assert ProverUnavailable in {type(result) for result in results}


async def test_threads_of_the_trainer_are_its_own(folder: Path) -> None:
    before, seen = torch.get_num_threads(), list[int]()
    policy = policy_of(folder)
    policy.model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    prover = prover_of(policy, folder, threads=before + 1)
    seen.clear()
    with prover.proving(0):
        await prover.check()
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    assert prover.info.num_threads == before + 1


def test_answers_end_where_those_of_the_saved_model_would(folder: Path, tmp_path: Path) -> None:
    policy = policy_of(folder)
    for ends in ([347, 5], 7, None):
        policy.generation_config.eos_token_id = ends
        prover = prover_of(policy, folder)
        with saved(policy, folder, tmp_path / str(ends)) as wanted:
            assert _ends(prover._proved) == _ends(wanted._model)


def _ends(proved: Any) -> frozenset[int]:
    return proved.rollouts.stops.end_ids


async def test_a_context_may_be_shorter_than_the_models(folder: Path) -> None:
    prover = prover_of(policy_of(folder), folder, max_model_len=64)
    assert prover.info.max_tokens == 64
    with prover.proving(0):
        assert (await failure_of(prover, make_proof([80]))).code == "context_length_exceeded"


def test_a_policy_that_is_not_proved_rightly_is_refused_and_given_back(folder: Path) -> None:
    policy = policy_of(folder)
    with torch.no_grad():
        policy.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ConfigError, match="cannot prove"):
        prover_of(policy, folder)
    assert policy.training
    assert policy.config._attn_implementation == "sdpa"
