"""The embedded engine on models of many families: the numbers of plain forwards, or a refusal that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers

import mrt_reward.provers
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.provers.hf import model, packing, walking
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.hf.prover import TransformersProver
from tests.provers.hf.families import FAMILIES, PACKED, REFUSED, WALKED, WAYS, WINDOW, save_family
from tests.provers.hf.plain import END_ID, expected_likelihoods, likelihoods, make_proof, plain_logprobs, rollouts

CUTS = [3, WINDOW - 1, WINDOW, 40, 90, 90]


@pytest.fixture(scope="module", params=[family for family in FAMILIES if REFUSED not in WAYS[family]])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_family(tmp_path_factory.mktemp("family") / request.param, request.param)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    load = cast("Any", transformers.AutoModelForCausalLM).from_pretrained
    return load(folder, dtype=torch.float32, attn_implementation="eager").eval()


async def test_likelihoods_equal_one_plain_forward_per_prefix(
    folder: Path, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = TransformersProver(EngineSettings(model=str(folder)))
    words = {PackedModel: PACKED, walking.WalkedModel: WALKED}
    assert (words[type(prover._model.likelihood)], words[type(prover._model.rollouts)]) == WAYS[folder.name]
    proof = make_proof(CUTS)
    expected = expected_likelihoods(reference, proof)
    whole = await prover.prove(proof)
    # Windows and states cross the edges of passes, too.
    monkeypatch.setattr(model, "PREFILL_CHUNK", 32)
    monkeypatch.setattr(walking, "CHUNK", 32)
    monkeypatch.setattr(packing, "MAX_MASK_ELEMENTS", 2000)
    parts = await prover.prove(proof)
    await prover.close()
    np.testing.assert_allclose(likelihoods(whole), expected, atol=1e-4)
    np.testing.assert_allclose(likelihoods(parts), expected, atol=1e-4)
    # 4 tokens stand for the 6 of the three spellings, and each is run once, whatever the way.
    assert whole.computed_tokens == 90 + sum(len(probe.suffix) + 4 for probe in proof.probes)
    assert prover.info.computed_per_needed == 1.0


async def test_sampled_answers_are_as_probable_as_plain_forwards_say(folder: Path, reference: Any) -> None:
    prover = TransformersProver(EngineSettings(model=str(folder)))
    # Answers outgrow the window.
    proof = make_proof(CUTS, rollouts(3, 1.0, max_tokens=WINDOW + 12, logprobs=True, coupled=True))
    proven = await prover.prove(proof)
    again = await prover.prove(proof)
    await prover.close()
    assert again.answers == proven.answers
    lengths: list[int] = []
    for probe, answer in zip(proof.probes, proven.answers, strict=True):
        prefix = [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]
        for ids, message in zip(answer.completions, answer.completion_logprobs, strict=True):
            drawn = [*ids, END_ID] if len(ids) < WINDOW + 12 else [*ids]
            logprobs = plain_logprobs(reference, [*prefix, *drawn])
            row = [float(logprobs[len(prefix) - 1 + index, token]) for index, token in enumerate(drawn)]
            assert message == pytest.approx(sum(row) / len(row), abs=1e-4)
            lengths.append(len(ids))
    assert max(lengths) > WINDOW


@pytest.mark.parametrize("family", [family for family in FAMILIES if REFUSED in WAYS[family]])
def test_a_family_whose_state_does_not_go_on_is_refused(tmp_path: Path, family: str) -> None:
    folder = save_family(tmp_path / family, family)
    with pytest.raises(ConfigError, match=r"cut by cut: likelihoods are .* away.* Use --engine vllm") as raised:
        TransformersProver(EngineSettings(model=str(folder), max_model_len=512))
    assert raised.value.param == "model"


def test_a_model_without_a_longest_context_must_be_given_one(tmp_path: Path) -> None:
    folder = save_family(tmp_path / "mamba2", "mamba2")
    settings = json.loads((folder / "config.json").read_text())
    del settings["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="names no longest context: give max_model_len"):
        TransformersProver(EngineSettings(model=str(folder)))


def test_the_page_of_engines_says_how_each_family_is_asked() -> None:
    page = Path(mrt_reward.provers.__file__).with_name("README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("|")]
    reported = {
        family.strip(" `"): tuple(next(word for word in (PACKED, WALKED, REFUSED) if word in cell) for cell in row[1:3])
        for row in rows
        if len(row) == 4
        for family in row[0].split("(")[-1].rstrip(") ").split(",")
        if family.strip(" `") in FAMILIES
    }
    assert reported == WAYS
