"""New weights in a running engine: nothing crosses versions, and what does not fit leaves the old ones in service."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ProverUnavailable, WeightsError
from mrt_reward.graders.spellings import spellings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import WeightsCanary
from mrt_reward.provers.checkpoints import weights_version
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status
from tests.provers.proving import prove_all
from tests.service.conftest import WordGrader
from tests.vllm.conftest import OPTIONS, island_traces, logprobs, perturbed, proofs_of, write_adapter

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def plain_values(folder: Path, num_traces: int) -> list[list[float]]:
    """What the transformers prover gives, score by score."""
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - with the engine only

    scorer = Scorer(
        TransformersProver(EngineSettings(model=str(folder), dtype="float32", device="cpu")),
        {"word": WordGrader()},
        spellings,
    )
    scored = await scorer.score(island_traces(num_traces, seed=9), OPTIONS)
    await scorer.close()
    return [numbers(trace) for trace in scored]


def numbers(trace: ScoredTrace) -> list[float]:
    assert trace.status is Status.OK, trace.error
    return [value.value for value in trace.values if value.value is not None]


async def test_nothing_crosses_versions_while_weights_change(prover: VLLMProver, tmp_path: Path) -> None:
    other = perturbed(tmp_path / "step-2")
    expected = {weights_version(folder): await plain_values(folder, 24) for folder in (MODEL_DIR, other)}
    first, second = expected
    # The two give values that differ by far more than any rounding.
    gaps = [abs(a - b) for one, two in zip(*expected.values(), strict=True) for a, b in zip(one, two, strict=True)]
    assert np.mean(gaps) > 0.02
    scorer = Scorer(prover, {"word": WordGrader()}, spellings)
    traces = island_traces(24, seed=9)

    async def scored_as(version: str | None, num_traces: int = 24) -> set[str]:
        seen: set[str] = set()
        async for index, trace in scorer.stream(traces[:num_traces], OPTIONS):
            reported = str(trace.prover).rpartition("@")[2]
            assert version in (None, reported)
            np.testing.assert_allclose(numbers(trace), expected[reported][index], atol=1e-4)
            seen.add(reported)
        return seen

    await scored_as(first, 12)
    # Half of the traces are cached by now; the others are under way while the weights change.
    load = asyncio.create_task(scorer.load_weights(other, "checkpoint"))
    scoring = asyncio.gather(scored_as(None), scored_as(None))
    while not prover._loading:  # noqa: ASYNC110 - another task's state
        await asyncio.sleep(0.01)
    with pytest.raises(ProverUnavailable, match="being loaded") as raised:
        await prover.check()
    assert raised.value.retryable
    info = await load
    during = await scoring
    assert (info.version, info.model) == (second, str(other))
    assert set().union(*during) <= {first, second}
    assert await scored_as(second) == {second}


def broken(folder: Path, how: str) -> Path:
    """A folder of weights with something wrong."""
    shutil.copytree(MODEL_DIR, folder)
    file = folder / "model.safetensors"
    if how == "half-written":
        file.write_bytes((MODEL_DIR / "model.safetensors").read_bytes()[:-1000])
    elif how == "no weights":
        file.unlink()
    elif how == "pickled":
        file.rename(folder / "pytorch_model.bin")
    elif how == "missing shard":
        index = {"weight_map": {"lm_head.weight": "model-00001-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif how == "other vocabulary":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 5000}))
    elif how == "other tokenizer":
        spec = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps({**spec, "normalizer": {"type": "Lowercase"}}))
    return folder


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("half-written", "half-written"),
        ("no weights", "found none; other formats"),
        ("pickled", "other formats are not loaded"),
        ("missing shard", "is not there"),
        ("other vocabulary", "vocab_size is 5000"),
        ("other tokenizer", "tokenizer.json differs"),
    ],
)
async def test_a_checkpoint_that_does_not_fit_is_refused(
    prover: VLLMProver, tmp_path: Path, how: str, message: str
) -> None:
    before, engine = prover.info, prover.engine
    with pytest.raises(WeightsError, match=message):
        await prover.load_weights(broken(tmp_path / "bad", how), "checkpoint")
    assert (prover.info, prover.engine) == (before, engine)
    await prover.check()


async def test_a_checkpoint_that_does_not_answer_brings_the_old_one_back(prover: VLLMProver, tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 - with the engine only
    from safetensors import torch as tensors  # noqa: PLC0415

    folder = broken(tmp_path / "nan", "")
    file = folder / "model.safetensors"
    weights = tensors.load_file(file)
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], torch.nan)
    file.chmod(0o644)
    tensors.save_file(weights, file, metadata={"format": "pt"})
    # With an adapter on top, which must come back too.
    await prover.load_weights(write_adapter(tmp_path / "zero", seed=9), "lora")
    before = prover.info
    proofs = proofs_of(island_traces(2), prover.tokenizer)
    expected = logprobs(await prove_all(prover, proofs))
    with pytest.raises(WeightsError, match="the old ones serve on"):
        await prover.load_weights(folder, "checkpoint")
    assert prover.info == before
    np.testing.assert_allclose(logprobs(await prove_all(prover, proofs)), expected, atol=1e-5)


async def test_weights_that_do_not_answer_as_their_sender_says_are_not_taken(
    prover: VLLMProver, tmp_path: Path
) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - with the engine only

    other = perturbed(tmp_path / "step-2")
    sender = TransformersProver(EngineSettings(model=str(other), dtype="float32", device="cpu"))
    asked = WeightsCanary((5, 6, 7), (8, 9, 10), 0.0, "float32")
    [[sent]] = [answer.spelling_logprobs for answer in (await sender.prove(asked.proof)).answers]
    await sender.close()
    before = prover.info
    with pytest.raises(WeightsError, match=r"the old ones serve on: .* not the weights that the sender has") as refused:
        await prover.load_weights(other, "checkpoint", replace(asked, logprob=sent - 3))
    assert (refused.value.code, prover.info) == ("canary_differs", before)
    await prover.check()
    await prover.load_weights(other, "checkpoint", replace(asked, logprob=sent))
    assert prover.info.version == weights_version(other)


async def test_an_adapter_serves_under_its_own_version(prover: VLLMProver, tmp_path: Path) -> None:
    proofs = proofs_of(island_traces(4), prover.tokenizer)
    base, without = prover._serving.base, logprobs(await prove_all(prover, proofs))
    await prover.load_weights(write_adapter(tmp_path / "one"), "lora")
    one, first = prover.info.version, logprobs(await prove_all(prover, proofs))
    await prover.load_weights(write_adapter(tmp_path / "two", seed=4, rank=4), "lora")
    two, second = prover.info.version, logprobs(await prove_all(prover, proofs))
    assert len({base, one, two}) == 3
    assert one.startswith(f"{base}+")
    for a, b in ((without, first), (without, second), (first, second)):
        assert np.abs(a - b).max() > 0.1
    await prover.load_weights(tmp_path / "one", "lora")
    assert prover.info.version == one
    np.testing.assert_allclose(logprobs(await prove_all(prover, proofs)), first, atol=1e-5)


async def test_an_adapter_that_does_not_fit_is_refused(prover: VLLMProver, tmp_path: Path) -> None:
    before = prover.info
    with pytest.raises(WeightsError, match="rank 16, the engine takes 1 to 8"):
        await prover.load_weights(write_adapter(tmp_path / "wide", rank=16), "lora")
    with pytest.raises(WeightsError, match="another base"):
        await prover.load_weights(write_adapter(tmp_path / "other", hidden=256), "lora")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="expected adapter_config"):
        await prover.load_weights(tmp_path / "empty", "lora")
    assert prover.info == before
    await prover.check()
