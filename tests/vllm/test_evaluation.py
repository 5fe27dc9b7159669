"""`mrt-reward evaluate` on vLLM: sampling, budget forcing and values, against the embedded engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR
from tests.vllm.evaluating import NUM_EXTENSIONS, evaluated

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_evaluating_gives_what_the_embedded_engine_gives(prover: VLLMProver, tmp_path: Path) -> None:
    from mrt_reward.provers.hf.prover import TransformersProver  # noqa: PLC0415 - torch, where it is installed

    reference = TransformersProver(EngineSettings(model=str(MODEL_DIR), dtype="float32", device="cpu"))
    expected = await evaluated(reference, tmp_path / "transformers")
    await reference.close()
    found = await evaluated(prover, tmp_path / "vllm")
    assert [one.completion for one in found] == [one.completion for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.evaluation is not None
        assert other.evaluation is not None
        extension, other_extension = one.evaluation.extension, other.evaluation.extension
        assert extension is not None
        assert other_extension is not None
        assert replace(extension, values=()) == replace(other_extension, values=())
        for value, expected_value in zip(
            (*one.scored.values, *extension.values), (*other.scored.values, *other_extension.values), strict=True
        ):
            assert replace(value, answers=None) == replace(expected_value, answers=None)
            answers, expected_answers = value.answers or (), expected_value.answers or ()
            assert [answer.text for answer in answers] == [answer.text for answer in expected_answers]
            assert [answer.logprob for answer in answers] == pytest.approx(
                [answer.logprob for answer in expected_answers], abs=1e-4
            )
        assert extension.text.startswith(("\n\nWait", "Wait"))
        assert "But wait" in extension.text
        assert len(extension.values) == NUM_EXTENSIONS // 2
        assert extension.prefix_tokens[0] > one.scored.prefix_tokens[-1]
    assert any(value.value == 1.0 for one in found for value in one.scored.values)
