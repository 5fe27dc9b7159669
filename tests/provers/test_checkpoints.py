"""Folders of weights are judged by their headers, before anything is loaded."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import torch as safetensors_torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import WeightsError, WeightsUnsupported
from mrt_reward.protocols import WeightsCanary
from mrt_reward.provers.checkpoints import (
    checkpoint_shapes,
    end_ids,
    read_adapter,
    refuse_other_model,
    tensor_shapes,
    weights_version,
)
from mrt_reward.provers.hf.prover import TransformersProver
from tests.provers.conftest import save_model
from tests.provers.hf.plain import likelihoods, make_proof
from tests.provers.proving import prove_all

FILE = "model.safetensors"


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The folder, with its weights changed."""
    weights = safetensors_torch.load_file(folder / FILE)
    change(weights)
    safetensors_torch.save_file(weights, folder / FILE, metadata={"format": "pt"})
    return folder


@pytest.fixture
def copy(qwen_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(qwen_dir, tmp_path / "copy"))


def edit(path: Path, **fields: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_checkpoint_of_the_same_network_is_taken(qwen_dir: Path, copy: Path) -> None:
    rewritten(copy, lambda weights: weights["model.norm.weight"].mul_(2))
    refuse_other_model(qwen_dir, copy)
    assert weights_version(copy) != weights_version(qwen_dir)
    # A training framework may have left the tokenizer out, which means it did not change it.
    (copy / "tokenizer.json").unlink()
    refuse_other_model(qwen_dir, copy)


def test_tied_embeddings_may_be_written_twice(qwen_dir: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(tmp_path / name, "Qwen2", tie_word_embeddings=True)
    rewritten(
        tmp_path / "two",
        lambda weights: weights.update({"lm_head.weight": weights["model.embed_tokens.weight"].clone()}),
    )
    refuse_other_model(tmp_path / "one", tmp_path / "two")
    with pytest.raises(WeightsError, match="tie_word_embeddings is True"):
        refuse_other_model(qwen_dir, tmp_path / "two")


def test_other_shapes_are_reported(qwen_dir: Path, copy: Path) -> None:
    rewritten(copy, lambda weights: weights.update({"model.norm.weight": torch.ones(64)}))
    with pytest.raises(WeightsError, match=r"'model.norm.weight' has shape \(64,\), the served model has \(128,\)"):
        refuse_other_model(qwen_dir, copy)


def test_a_tokenizer_that_was_only_written_anew_is_the_same(qwen_dir: Path, copy: Path) -> None:
    # As transformers writes it beside a checkpoint: other white space, and a post-processor that does nothing.
    template = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]}
    template |= {"pair": [*template["single"], {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}}
    edit(copy / "tokenizer.json", post_processor=template)
    assert (copy / "tokenizer.json").read_bytes() != (qwen_dir / "tokenizer.json").read_bytes()
    refuse_other_model(qwen_dir, copy)


def test_another_architecture_or_tokenizer_is_reported(qwen_dir: Path, copy: Path) -> None:
    edit(copy / "tokenizer.json", normalizer={"type": "Lowercase"})
    with pytest.raises(WeightsError, match=r"tokenizer.json differs"):
        refuse_other_model(qwen_dir, copy)
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"tokenizer.json in 'copy' cannot be read"):
        refuse_other_model(qwen_dir, copy)
    (copy / "tokenizer.json").unlink()
    edit(copy / "config.json", num_hidden_layers=4)
    with pytest.raises(WeightsError, match="num_hidden_layers is 4, the served model has 3"):
        refuse_other_model(qwen_dir, copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config.json is not JSON"):
        refuse_other_model(qwen_dir, copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(WeightsError, match="holds no JSON object"):
        refuse_other_model(qwen_dir, copy)
    (copy / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"expected config.json in 'copy'"):
        refuse_other_model(qwen_dir, copy)


@pytest.mark.parametrize("size", [0, 5, 8, 100, -1])
def test_every_truncation_is_noticed(qwen_dir: Path, copy: Path, size: int) -> None:
    content = (copy / FILE).read_bytes()
    (copy / FILE).write_bytes(content[:size])
    with pytest.raises(WeightsError, match="half-written"):
        refuse_other_model(qwen_dir, copy)
    (copy / FILE).write_bytes(content + b"x")
    with pytest.raises(WeightsError, match="half-written"):
        tensor_shapes(copy / FILE)


def test_shards_are_read_by_their_index(copy: Path) -> None:
    whole = checkpoint_shapes(copy)
    names = sorted(whole)
    weights = safetensors_torch.load_file(copy / FILE)
    (copy / FILE).unlink()
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, part in shards.items():
        safetensors_torch.save_file({name: weights[name] for name in part}, copy / shard)
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: shard for shard, part in shards.items() for name in part}}))
    assert checkpoint_shapes(copy) == whole
    (copy / "b.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"'b.safetensors' is listed .* not there"):
        checkpoint_shapes(copy)
    index.write_text(json.dumps({"weight_map": {"x": "../copy/a.safetensors"}}))
    with pytest.raises(WeightsError, match="is not there"):
        checkpoint_shapes(copy)
    index.unlink()
    (copy / "a.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="other formats are not loaded"):
        checkpoint_shapes(copy)


def write_adapter(folder: Path, *, rank: int = 4, sides: tuple[int, int] = (128, 128), **config: object) -> Path:
    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    weights = {f"{stem}A.weight": torch.zeros(rank, sides[0]), f"{stem}B.weight": torch.zeros(sides[1], rank)}
    folder.mkdir()
    safetensors_torch.save_file({**weights, "other": torch.zeros(1)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": rank, **config}))
    return folder


def test_an_adapter_must_fit_rank_and_base(qwen_dir: Path, tmp_path: Path) -> None:
    adapter = read_adapter(write_adapter(tmp_path / "good"), qwen_dir, max_rank=8)
    assert (adapter.rank, len(adapter.version)) == (4, 16)
    with pytest.raises(WeightsError, match="rank 4, the engine takes 1 to 2"):
        read_adapter(tmp_path / "good", qwen_dir, max_rank=2)
    with pytest.raises(WeightsError, match="rank None"):
        read_adapter(write_adapter(tmp_path / "rankless", r=None), qwen_dir, max_rank=8)
    with pytest.raises(WeightsError, match=r"another base: .*lora_A.*\(4, 64\), here it would have \(4, 128\)"):
        read_adapter(write_adapter(tmp_path / "other", sides=(64, 128)), qwen_dir, max_rank=8)
    with pytest.raises(WeightsError, match="another base"):
        read_adapter(write_adapter(tmp_path / "lying", rank=4, r=3), qwen_dir, max_rank=8)
    (tmp_path / "good" / "adapter_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"expected adapter_model.safetensors"):
        read_adapter(tmp_path / "good", qwen_dir, max_rank=8)


def test_ends_of_turn_come_from_the_generation_settings_first(copy: Path) -> None:
    edit(copy / "generation_config.json", eos_token_id=[3, 4])
    assert end_ids(copy, 5) == {3, 4, 5}
    (copy / "generation_config.json").unlink()
    edit(copy / "config.json", eos_token_id=7)
    assert end_ids(copy, None) == {7}
    edit(copy / "config.json", eos_token_id=None)
    assert end_ids(copy, None) == frozenset()


async def test_the_transformers_prover_changes_over_between_proofs(qwen_dir: Path, copy: Path) -> None:
    rewritten(copy, lambda weights: weights["model.norm.weight"].mul_(1.5))
    prover, other = (
        TransformersProver(EngineSettings(model=str(qwen_dir), device="cpu")),
        TransformersProver(EngineSettings(model=str(copy), device="cpu")),
    )
    proofs = [make_proof([5, 60, 120], seed=seed) for seed in range(20)]

    async def logprobs_of(source: TransformersProver) -> list[list[list[float]]]:
        return [likelihoods(one) for one in await prove_all(source, proofs)]

    expected = {prover.info.version: await logprobs_of(prover), other.info.version: await logprobs_of(other)}
    running = [asyncio.create_task(prove_all(prover, proofs)) for _ in range(3)]
    await prover.load_weights(copy, "checkpoint")
    assert prover.info.version == other.info.version
    assert prover.info.model == str(copy)
    running.append(asyncio.create_task(prove_all(prover, proofs)))
    seen: set[str] = set()
    for batch in await asyncio.gather(*running):
        for index, proven in enumerate(batch):
            seen.add(proven.version)
            np.testing.assert_allclose(likelihoods(proven), expected[proven.version][index], atol=1e-6)
    assert seen == set(expected)
    await prover.close()
    await other.close()


@pytest.mark.parametrize("apart", [0.0, -0.5])
async def test_weights_are_taken_where_their_sender_says_of_an_answer_what_they_say(
    qwen_dir: Path, copy: Path, apart: float
) -> None:
    rewritten(copy, lambda weights: weights["model.norm.weight"].mul_(1.5))
    prover, sender = (TransformersProver(EngineSettings(model=str(one), device="cpu")) for one in (qwen_dir, copy))
    asked = WeightsCanary((5, 6, 7), (8, 9, 10), 0.0, "float32")
    [[own], [sent]] = [likelihoods(await one.prove(asked.proof))[0] for one in (prover, sender)]
    assert abs(own - sent) > 0.1, "the two sets of weights must be distinguished by it"
    canary = replace(asked, logprob=sent + apart)
    if apart:
        before = prover.info
        with pytest.raises(WeightsError, match="not the weights that the sender has"):
            await prover.load_weights(copy, "checkpoint", canary)
        assert prover.info == before
        assert (await prover.prove(asked.proof)).version == before.version
        with pytest.raises(
            WeightsError, match=r"ids up to 99999, the model takes 4096 tokens and ids below 404"
        ) as refused:
            await prover.load_weights(copy, "checkpoint", replace(canary, answer_ids=(8, 9, 99_999)))
        assert refused.value.param == "canary"
    else:
        await prover.load_weights(copy, "checkpoint", canary)
        assert prover.info.version == sender.info.version
    await prover.close()
    await sender.close()


async def test_weights_that_do_not_answer_leave_the_old_ones_in_service(qwen_dir: Path, copy: Path) -> None:
    prover = TransformersProver(EngineSettings(model=str(qwen_dir), device="cpu"))
    before: Any = prover.info
    rewritten(copy, lambda weights: weights["model.norm.weight"].fill_(torch.nan))
    with pytest.raises(WeightsError, match=r"the old ones serve on: this model cannot prove: .* not finite"):
        await prover.load_weights(copy, "checkpoint")
    edit(copy / "config.json", use_cache=7)
    with pytest.raises(WeightsError, match="cannot be loaded, the old ones serve on"):
        await prover.load_weights(copy, "checkpoint")
    with pytest.raises(WeightsUnsupported, match="merge it"):
        await prover.load_weights(copy, "lora")
    assert prover.info == before
    await prover.check()
    await prover.close()
