from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.protocols import Proof
from mrt_reward.provers.hf import decoding, model, packing
from mrt_reward.provers.hf.prover import TransformersProver
from tests.provers.hf.plain import (
    END_ID,
    expected_likelihoods,
    greedy,
    likelihoods,
    make_proof,
    plain_logprobs,
    rollouts,
)
from tests.provers.proving import prove_all


@pytest.mark.parametrize("cuts", [[1], [1, 2, 40], [30, 30, 30], [5, 60, 120, 121]])
async def test_likelihoods_equal_one_plain_forward_per_prefix(
    prover: TransformersProver, reference: Any, cuts: list[int]
) -> None:
    proof = make_proof(cuts)
    proven = await prover.prove(proof)
    np.testing.assert_allclose(likelihoods(proven), expected_likelihoods(reference, proof), atol=1e-4)
    # The spellings 7 8 9 and 7 8 share their nodes, so 4 tokens stand for the 6 of the three spellings.
    assert proven.computed_tokens == max(cuts) + sum(len(probe.suffix) + 4 for probe in proof.probes)
    assert proven.version == prover.info.version


async def test_chunked_passes_give_the_same_answers(
    prover: TransformersProver, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "PREFILL_CHUNK", 16)
    monkeypatch.setattr(packing, "MAX_MASK_ELEMENTS", 2000)
    monkeypatch.setattr(decoding, "MAX_ANSWERS", 8)
    proof = make_proof([10, 20, 33, 47, 50])
    np.testing.assert_allclose(
        likelihoods(await prover.prove(proof)), expected_likelihoods(reference, proof), atol=1e-4
    )
    proof = make_proof([10, 20, 33, 47, 50], rollouts())
    for probe, answer in zip(proof.probes, (await prover.prove(proof)).answers, strict=True):
        assert set(answer.completions) == {greedy(reference, proof, probe)}


@pytest.mark.parametrize("first", [5, 31, 90, 200])
async def test_a_longer_first_pass_gives_the_same_answers(
    prover: TransformersProver, reference: Any, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    # As on a GPU, where the first pass is longer than the others; here also shorter, and longer than the trace.
    monkeypatch.setattr(model, "PREFILL_CHUNK", 30)
    monkeypatch.setattr(model, "FIRST_CHUNKS", {"cpu": first})
    proof = make_proof([10, 47, 90, 121])
    lengths: list[int] = []
    hook = prover.network.register_forward_pre_hook(
        lambda _, __, kwargs: lengths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    proven = await prover.prove(proof)
    hook.remove()
    np.testing.assert_allclose(likelihoods(proven), expected_likelihoods(reference, proof), atol=1e-4)
    passes = [first, *[30] * ((121 - first) // 30), (121 - first) % 30] if first < 121 else [121]
    assert lengths[:-1] == [length for length in passes if length]


async def test_answers_at_temperature_0_equal_plain_greedy_decoding(prover: TransformersProver, reference: Any) -> None:
    proof = make_proof([1, 30, 64, 90], rollouts())
    proven = await prover.prove(proof)
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
    [answer] = (await prover.prove(proof)).answers
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
    for probe, answer in zip(proof.probes, (await prover.prove(proof)).answers, strict=True):
        prefix = [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]
        for ids, message in zip(answer.completions, answer.completion_logprobs, strict=True):
            # At temperature 1 whatever they were drawn at; the end of turn counts where it was drawn.
            drawn = [*ids, END_ID] if len(ids) < 12 else [*ids]
            logprobs = plain_logprobs(reference, [*prefix, *drawn])
            row = [float(logprobs[len(prefix) - 1 + index, token]) for index, token in enumerate(drawn)]
            assert message == pytest.approx(sum(row) / len(row), abs=1e-4)
    [plain, _] = (await prover.prove(make_proof([10, 40], rollouts(6)))).answers
    assert plain.completion_logprobs == ()


async def test_answers_do_not_depend_on_batch_or_order(prover: TransformersProver) -> None:
    query = rollouts(6, 0.8, 0.95)
    proofs = [make_proof([10 + seed, 40, 70], query, seed=seed) for seed in range(3)]
    alone = [await prover.prove(proof) for proof in proofs]
    together = await prove_all(prover, proofs[::-1])
    assert [proven.answers for proven in together[::-1]] == [proven.answers for proven in alone]
    single = Proof(proofs[0].token_ids, proofs[0].probes[1:2], query)
    assert (await prover.prove(single)).answers == alone[0].answers[1:2]


async def test_an_answer_ends_when_its_braces_balance(prover: TransformersProver) -> None:
    tokenizer = prover.tokenizer
    proof = make_proof([30, 60], rollouts(64, 3.0, max_tokens=40, stop_at_close=True))
    for answer in (await prover.prove(proof)).answers:
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


async def test_bfloat16_is_close(qwen_dir: Path) -> None:
    exact, rough = (
        TransformersProver(EngineSettings(model=str(qwen_dir))),
        TransformersProver(EngineSettings(model=str(qwen_dir), dtype="bfloat16")),
    )
    proof = make_proof([5, 60])
    a, b = likelihoods(await exact.prove(proof)), likelihoods(await rough.prove(proof))
    np.testing.assert_allclose(a, b, atol=1.0)
    assert exact.info.version == rough.info.version
    await exact.close()
    await rough.close()


async def test_every_end_of_turn_that_the_settings_list_ends_an_answer(qwen_dir: Path, tmp_path: Path) -> None:
    proof = make_proof([30], rollouts(1))
    prover = TransformersProver(EngineSettings(model=str(qwen_dir)))
    [tokens] = (await prover.prove(proof)).answers[0].completions
    await prover.close()
    folder = shutil.copytree(qwen_dir, tmp_path / "ends")
    settings = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [347, tokens[0]]}))
    prover = TransformersProver(EngineSettings(model=str(folder)))
    assert (await prover.prove(proof)).answers[0].completions == ((),)
    await prover.close()
