from __future__ import annotations

import asyncio
import json
import math
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch

from mrt_reward.errors import ProverError, ProverUnavailable
from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, RolloutQuery, SpellingIds
from mrt_reward.provers import packed_model, packing
from mrt_reward.provers.transformers import TransformersProver
from tests.provers.conftest import MAX_TOKENS

SPELLINGS = (SpellingIds((7, 8, 9), (10, 11)), SpellingIds((7, 8), (10,)), SpellingIds((12,), (13, 14, 15)))
LIKELIHOOD = LikelihoodQuery(SPELLINGS)
END_ID = 347


def make_proof(
    cuts: Sequence[int], query: LikelihoodQuery | RolloutQuery = LIKELIHOOD, *, seed: int = 0, num_suffix: int = 4
) -> Proof:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 400, size=max(cuts), dtype=np.int32)
    probes = tuple(
        Probe(cut, tuple(rng.integers(0, 400, size=num_suffix + index % 2).tolist()), seed=seed * 1000 + index)
        for index, cut in enumerate(cuts)
    )
    return Proof(ids, probes, query)


def rollouts(num_samples: int = 4, temperature: float = 0.0, top_p: float = 1.0, **changes: Any) -> RolloutQuery:
    settings: dict[str, Any] = {"max_tokens": 12, "stop_at_close": False, **changes}
    return RolloutQuery(num_samples, temperature, top_p, **settings)


@torch.inference_mode()
def plain_logprobs(reference: Any, ids: Sequence[int]) -> torch.Tensor:
    return reference(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)


def expected_likelihoods(
    reference: Any, proof: Proof, spellings: Sequence[SpellingIds] = SPELLINGS
) -> list[list[float]]:
    rows: list[list[float]] = []
    for probe in proof.probes:
        prefix = [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]
        row: list[float] = []
        for spelling in spellings:
            logprobs = plain_logprobs(reference, [*prefix, *spelling.ids])
            total = sum(float(logprobs[len(prefix) - 1 + i, token]) for i, token in enumerate(spelling.ids))
            row.append(total + float(logprobs[-1, list(spelling.close)].logsumexp(0)))
        rows.append(row)
    return rows


async def prove_one(prover: TransformersProver, proof: Proof) -> Proven:
    [proven] = await prover.prove([proof])
    assert isinstance(proven, Proven), proven
    return proven


def likelihoods(proven: Proven) -> list[list[float]]:
    return [list(answer.spelling_logprobs) for answer in proven.answers]


@pytest.mark.parametrize("cuts", [[1], [1, 2, 40], [30, 30, 30], [5, 60, 120, 121]])
async def test_likelihoods_equal_one_plain_forward_per_prefix(
    prover: TransformersProver, reference: Any, cuts: list[int]
) -> None:
    proof = make_proof(cuts)
    proven = await prove_one(prover, proof)
    np.testing.assert_allclose(likelihoods(proven), expected_likelihoods(reference, proof), atol=1e-4)
    # The spellings 7 8 9 and 7 8 share their nodes, so 4 tokens stand for the 6 of the three spellings.
    assert proven.computed_tokens == max(cuts) + sum(len(probe.suffix) + 4 for probe in proof.probes)
    assert proven.version == prover.info.version


async def test_chunked_passes_give_the_same_answers(
    prover: TransformersProver, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_model, "PREFILL_CHUNK", 16)
    monkeypatch.setattr(packing, "MAX_MASK_ELEMENTS", 2000)
    monkeypatch.setattr(packed_model, "MAX_ROWS", 8)
    proof = make_proof([10, 20, 33, 47, 50])
    np.testing.assert_allclose(
        likelihoods(await prove_one(prover, proof)), expected_likelihoods(reference, proof), atol=1e-4
    )
    proof = make_proof([10, 20, 33, 47, 50], rollouts())
    for probe, answer in zip(proof.probes, (await prove_one(prover, proof)).answers, strict=True):
        assert set(answer.completions) == {greedy(reference, proof, probe)}


def greedy(reference: Any, proof: Proof, probe: Probe, max_tokens: int = 12) -> tuple[int, ...]:
    ids = torch.tensor([[*proof.token_ids[: probe.cut].tolist(), *probe.suffix]])
    output = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False, pad_token_id=0
    )
    answer = output[0, ids.shape[1] :].tolist()
    return tuple(answer[: answer.index(END_ID)] if END_ID in answer else answer)


async def test_answers_at_temperature_0_equal_plain_greedy_decoding(prover: TransformersProver, reference: Any) -> None:
    proof = make_proof([1, 30, 64, 90], rollouts())
    proven = await prove_one(prover, proof)
    for probe, answer in zip(proof.probes, proven.answers, strict=True):
        assert answer.completions == (greedy(reference, proof, probe),) * 4
    # One row stands for all four answers: 11 of 12 tokens are run at most.
    assert proven.computed_tokens <= 90 + sum(len(probe.suffix) + 11 for probe in proof.probes)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.6)])
async def test_sampled_answers_follow_the_models_distribution(
    prover: TransformersProver, reference: Any, temperature: float, top_p: float
) -> None:
    num_samples = 4000
    proof = make_proof([20], rollouts(num_samples, temperature, top_p, max_tokens=2))
    [answer] = (await prove_one(prover, proof)).answers
    prefix = [*proof.token_ids.tolist(), *proof.probes[0].suffix]

    def nucleus(ids: Sequence[int]) -> np.ndarray[Any, Any]:
        probability = (plain_logprobs(reference, ids)[-1] / temperature).softmax(-1).numpy()
        order = np.argsort(-probability)
        kept = order[np.cumsum(probability[order]) - probability[order] < top_p]
        result = np.zeros_like(probability)
        result[kept] = probability[kept] / probability[kept].sum()
        return result

    firsts = Counter(tokens[0] for tokens in answer.completions if tokens)
    expected = nucleus(prefix)
    _assert_drawn_from(firsts, expected, num_samples)
    [(first, count)] = firsts.most_common(1)
    seconds = Counter(tokens[1] for tokens in answer.completions if tokens[:1] == (first,) and len(tokens) > 1)
    _assert_drawn_from(seconds, nucleus([*prefix, first]), count)


def _assert_drawn_from(counts: Counter[int], probability: np.ndarray[Any, Any], num: int) -> None:
    seen = np.array([counts[token] for token in range(len(probability))])
    assert not seen[probability == 0].any()
    large = probability * num >= 5
    large[END_ID] = False
    statistic = ((seen - num * probability)[large] ** 2 / (num * probability[large])).sum()
    # A chi-square with k degrees of freedom has mean k and variance 2k: five deviations.
    assert statistic < large.sum() + 5 * math.sqrt(2 * large.sum())


@pytest.mark.parametrize("temperature", [0.0, 1.7])
async def test_answers_tell_how_probable_they_were(
    prover: TransformersProver, reference: Any, temperature: float
) -> None:
    proof = make_proof([10, 40], rollouts(6, temperature, 0.9, logprobs=True))
    for probe, answer in zip(proof.probes, (await prove_one(prover, proof)).answers, strict=True):
        prefix = [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]
        for ids, told in zip(answer.completions, answer.completion_logprobs, strict=True):
            # At temperature 1 whatever they were drawn at; the end of turn counts where it was drawn.
            drawn = [*ids, END_ID] if len(ids) < 12 else [*ids]
            logprobs = plain_logprobs(reference, [*prefix, *drawn])
            row = [float(logprobs[len(prefix) - 1 + place, token]) for place, token in enumerate(drawn)]
            assert told == pytest.approx(sum(row) / len(row), abs=1e-4)
    [plain, _] = (await prove_one(prover, make_proof([10, 40], rollouts(6)))).answers
    assert plain.completion_logprobs == ()


async def test_answers_do_not_depend_on_batch_or_order(prover: TransformersProver) -> None:
    query = rollouts(6, 0.8, 0.95)
    proofs = [make_proof([10 + seed, 40, 70], query, seed=seed) for seed in range(3)]
    alone = [await prove_one(prover, proof) for proof in proofs]
    together = await prover.prove(proofs[::-1])
    assert [proven.answers for proven in cast("list[Proven]", together)[::-1]] == [proven.answers for proven in alone]
    single = Proof(proofs[0].token_ids, proofs[0].probes[1:2], query)
    assert (await prove_one(prover, single)).answers == alone[0].answers[1:2]


async def test_an_answer_ends_when_its_braces_balance(prover: TransformersProver) -> None:
    tokenizer = prover.tokenizer
    proof = make_proof([30, 60], rollouts(64, 3.0, max_tokens=40, stop_at_close=True))
    for answer in (await prove_one(prover, proof)).answers:
        for ids in answer.completions:
            for end in range(1, len(ids)):
                text = tokenizer.decode(ids[:end])
                opened = text[text.find("{") :] if "{" in text else ""
                assert not opened or min(_depths(opened)) > 0
        assert any(len(ids) < 40 for ids in answer.completions)


def _depths(text: str) -> list[int]:
    depth, depths = 0, list[int]()
    for char in text:
        depth += (char == "{") - (char == "}")
        depths.append(depth)
    return depths


async def test_a_trace_too_long_fails_alone_and_says_by_how_much(prover: TransformersProver) -> None:
    long = make_proof([10, MAX_TOKENS])
    results = await prover.prove([make_proof([5]), long, make_proof([6])])
    assert [type(result) for result in results] == [Proven, ProverError, Proven]
    error = results[1]
    assert isinstance(error, ProverError)
    assert error.code == "context_length_exceeded"
    assert str(MAX_TOKENS) in str(error)
    assert str(MAX_TOKENS + 5 + 3) in str(error)


async def test_answers_end_with_the_context(prover: TransformersProver) -> None:
    proof = make_proof([MAX_TOKENS - 4 - 3], rollouts(1, max_tokens=50))
    [answer] = (await prove_one(prover, proof)).answers
    assert len(answer.completions[0]) <= 3


async def test_200_episodes_of_one_trace(prover: TransformersProver, reference: Any) -> None:
    proof = make_proof(list(range(5, 5 + 200 * 8, 8)))
    found = likelihoods(await prove_one(prover, proof))
    some = Proof(proof.token_ids, proof.probes[::50], LIKELIHOOD)
    np.testing.assert_allclose(found[::50], expected_likelihoods(reference, some), atol=1e-4)


async def test_unknown_ids_are_refused(prover: TransformersProver) -> None:
    proof = make_proof([5])
    [result] = await prover.prove([Proof(proof.token_ids + np.int32(4000), proof.probes, LIKELIHOOD)])
    assert isinstance(result, ProverError)
    assert result.code == "invalid_token_ids"


async def test_no_close_is_a_probability_of_0(prover: TransformersProver) -> None:
    proof = make_proof([5], LikelihoodQuery((SpellingIds((1,), ()),)))
    assert likelihoods(await prove_one(prover, proof)) == [[-math.inf]]


async def test_check_generates_and_closing_ends_it(qwen_dir: Path) -> None:
    prover = TransformersProver(qwen_dir, max_context_tokens=64, note="tiny")
    await prover.check()
    assert (prover.info.max_tokens, prover.info.note, prover.info.engine) == (64, "tiny", "transformers")
    assert prover.max_concurrent_batches == 1
    assert prover.max_batch_tokens >= 1024
    await prover.close()
    with pytest.raises(ProverUnavailable):
        await prover.check()


async def test_cancelling_stops_the_work_soon(qwen_dir: Path) -> None:
    prover = TransformersProver(qwen_dir, num_threads=1)
    proofs = [make_proof(list(range(1000, 4000, 100)), seed=seed) for seed in range(300)]
    call = asyncio.create_task(prover.prove(proofs))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    # The worker is free again long before three hundred such traces could be through.
    await asyncio.wait_for(prover.check(), timeout=5)
    await prover.close()


async def test_closing_stops_what_runs(qwen_dir: Path) -> None:
    prover = TransformersProver(qwen_dir, num_threads=1)
    call = asyncio.create_task(prover.prove([make_proof([3000], seed=seed) for seed in range(300)]))
    await asyncio.sleep(0.01)
    await asyncio.wait_for(prover.close(), timeout=5)
    with pytest.raises(ProverUnavailable):
        await call


async def test_the_event_loop_stays_free(qwen_dir: Path) -> None:
    prover = TransformersProver(qwen_dir)
    call = asyncio.create_task(prover.prove([make_proof([2000], seed=seed) for seed in range(3)]))
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
    prover = TransformersProver(qwen_dir)
    module: Any = prover._packed.model  # pyright: ignore[reportPrivateUsage] - the network itself must fail

    def fail(*_: object) -> None:
        raise error

    handle = module.register_forward_pre_hook(fail)
    [failed] = await prover.prove([make_proof([5])])
    handle.remove()
    assert isinstance(failed, ProverError)
    assert failed.code == code
    assert isinstance(await prove_one(prover, make_proof([5])), Proven)
    await prover.close()


async def test_a_model_of_nans_gives_errors_and_no_numbers(qwen_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(qwen_dir, tmp_path / "nan")
    [file] = folder.glob("*.safetensors")
    weights = cast("Any", safetensors_torch).load_file(file)
    weights["model.norm.weight"][:] = float("nan")
    cast("Any", safetensors_torch).save_file(weights, file, metadata={"format": "pt"})
    prover = TransformersProver(folder)
    for query in (LIKELIHOOD, rollouts()):
        [result] = await prover.prove([make_proof([5], query)])
        assert isinstance(result, ProverError)
        assert result.code == "non_finite_logits"
    with pytest.raises(ProverUnavailable):
        await prover.check()
    assert prover.info.version != TransformersProver(qwen_dir).info.version
    await prover.close()


async def test_bfloat16_is_close(qwen_dir: Path) -> None:
    exact, rough = TransformersProver(qwen_dir), TransformersProver(qwen_dir, dtype="bfloat16")
    proof = make_proof([5, 60])
    a, b = likelihoods(await prove_one(exact, proof)), likelihoods(await prove_one(rough, proof))
    np.testing.assert_allclose(a, b, atol=1.0)
    assert exact.info.version == rough.info.version
    await exact.close()
    await rough.close()


async def test_every_end_of_turn_that_the_settings_list_ends_an_answer(qwen_dir: Path, tmp_path: Path) -> None:
    proof = make_proof([30], rollouts(1))
    prover = TransformersProver(qwen_dir)
    [tokens] = (await prove_one(prover, proof)).answers[0].completions
    await prover.close()
    folder = shutil.copytree(qwen_dir, tmp_path / "ends")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [347, tokens[0]]}))
    prover = TransformersProver(folder)
    assert (await prove_one(prover, proof)).answers[0].completions == ((),)
    await prover.close()


def test_the_light_modules_load_no_torch() -> None:
    code = "import sys, mrt_reward.provers.scripted, mrt_reward.provers.tokenizer; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
