from __future__ import annotations

import asyncio
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, Proof, Proven, SpellingIds
from mrt_reward.provers.hf.prover import TransformersProver
from tests.provers.conftest import MAX_TOKENS
from tests.provers.hf.plain import (
    LIKELIHOOD,
    expected_likelihoods,
    likelihoods,
    make_proof,
    rollouts,
)
from tests.provers.proving import failure_of, prove_all


async def test_a_trace_too_long_fails_alone_and_says_by_how_much(prover: TransformersProver) -> None:
    long = make_proof([10, MAX_TOKENS])
    calls = [prover.prove(proof) for proof in (make_proof([5]), long, make_proof([6]))]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Proven, ProverError, Proven]
    error = results[1]
    assert isinstance(error, ProverError)
    assert error.code == "context_length_exceeded"
    assert str(MAX_TOKENS) in str(error)
    assert str(MAX_TOKENS + 5 + 3) in str(error)


async def test_answers_end_with_the_context(prover: TransformersProver) -> None:
    proof = make_proof([MAX_TOKENS - 4 - 3], rollouts(1, max_tokens=50))
    [answer] = (await prover.prove(proof)).answers
    assert len(answer.completions[0]) <= 3


async def test_200_episodes_of_one_trace(prover: TransformersProver, reference: Any) -> None:
    proof = make_proof(list(range(5, 5 + 200 * 8, 8)))
    found = likelihoods(await prover.prove(proof))
    some = Proof(proof.token_ids, proof.probes[::50], LIKELIHOOD)
    np.testing.assert_allclose(found[::50], expected_likelihoods(reference, some), atol=1e-4)


async def test_unknown_ids_are_refused(prover: TransformersProver) -> None:
    proof = make_proof([5])
    error = await failure_of(prover, Proof(proof.token_ids + np.int32(4000), proof.probes, LIKELIHOOD))
    assert error.code == "invalid_token_ids"


async def test_no_close_is_a_probability_of_0(prover: TransformersProver) -> None:
    proof = make_proof([5], LikelihoodQuery((SpellingIds((1,), ()),)))
    assert likelihoods(await prover.prove(proof)) == [[-math.inf]]


async def test_check_generates_and_closing_ends_it(qwen_dir: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), max_model_len=64), note="tiny")
    await prover.check()
    assert (prover.info.max_tokens, prover.info.note, prover.info.engine) == (64, "tiny", "transformers")
    assert prover.num_slots >= 16, "as many as an evaluation has under way"
    await prover.close()
    with pytest.raises(ProverUnavailable):
        await prover.check()


async def test_weights_follow_weights_whose_folder_was_deleted_meanwhile(qwen_dir: Path, tmp_path: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), device="cpu", threads=1))
    try:
        for step in range(3):
            folder = Path(shutil.copytree(qwen_dir, tmp_path / f"step-{step}"))
            await prover.load_weights(folder, "checkpoint")
            # A trainer keeps its last checkpoints alone.
            shutil.rmtree(folder)
        await prover.check()
    finally:
        await prover.close()


async def test_cancelling_stops_the_work_soon(qwen_dir: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), threads=1))
    proofs = [make_proof(list(range(1000, 4000, 100)), seed=seed) for seed in range(300)]
    call = asyncio.create_task(prove_all(prover, proofs))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    # The worker is free again long before three hundred such traces could be through.
    await asyncio.wait_for(prover.check(), timeout=5)
    await prover.close()


async def test_closing_stops_what_runs(qwen_dir: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), threads=1))
    call = asyncio.create_task(prove_all(prover, [make_proof([3000], seed=seed) for seed in range(300)]))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(prover.close(), timeout=5)
    with pytest.raises(ProverUnavailable):
        await call


async def test_the_event_loop_stays_free(qwen_dir: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir)))
    call = asyncio.create_task(prove_all(prover, [make_proof([2000], seed=seed) for seed in range(3)]))
    ticks = 0
    while not call.done():
        await asyncio.sleep(0)
        ticks += 1
    assert ticks > 10
    await prover.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("kernel failed"), "prover_failed"),
    ],
)
async def test_a_failure_of_the_network_stays_with_its_trace(qwen_dir: Path, error: Exception, code: str) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir)))
    module: Any = prover.network

    def fail(*_: object) -> None:
        raise error

    handle = module.register_forward_pre_hook(fail)
    failed = await failure_of(prover, make_proof([5]))
    handle.remove()
    assert failed.code == code
    assert isinstance(await prover.prove(make_proof([5])), Proven)
    await prover.close()


async def test_a_model_that_gives_nans_while_it_serves_gives_errors_and_no_numbers(qwen_dir: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir)))
    with torch.no_grad():
        cast("Any", prover.network).model.norm.weight[:] = float("nan")
    for query in (LIKELIHOOD, rollouts()):
        error = await failure_of(prover, make_proof([5], query))
        assert error.code == "non_finite_logits"
    with pytest.raises(ProverUnavailable):
        await prover.check()
    await prover.close()


def test_a_model_of_nans_is_refused(qwen_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(qwen_dir, tmp_path / "nan")
    [file] = folder.glob("*.safetensors")
    weights = cast("Any", safetensors_torch).load_file(file)
    weights["model.norm.weight"][:] = float("nan")
    cast("Any", safetensors_torch).save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="cannot prove: the model gave logits that are not finite numbers"):
        TransformersProver(EngineSettings(model=str(folder)))


def test_the_light_modules_load_no_torch() -> None:
    code = "import sys, mrt_reward.provers.scripted, mrt_reward.provers.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
