"""`mrt-reward evaluate` on vLLM: sampling, budget forcing and values, against the embedded engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mrt_reward.mini import MODEL_DIR
from tests.vllm.evaluating import NUM_EXTENSIONS, evaluated

if TYPE_CHECKING:
    from mrt_reward.provers.vllm import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_evaluating_gives_what_the_embedded_engine_gives(prover: VLLMProver, tmp_path: Path) -> None:
    from mrt_reward.provers.transformers import TransformersProver  # noqa: PLC0415 - torch, where it is installed

    reference = TransformersProver(MODEL_DIR, dtype="float32", device="cpu")
    expected = await evaluated(reference, tmp_path / "transformers")
    await reference.close()
    found = await evaluated(prover, tmp_path / "vllm")
    assert [one.completion for one in found] == [one.completion for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.scored.values == other.scored.values
        assert one.evaluation is not None
        assert one.evaluation == other.evaluation
        extension = one.evaluation.extension
        assert extension is not None
        assert extension.text.startswith(("\n\nWait", "Wait"))
        assert "But wait" in extension.text
        assert len(extension.values) == NUM_EXTENSIONS // 2
        assert extension.prefix_tokens[0] > one.scored.prefix_tokens[-1]
    assert any(value.value == 1.0 for one in found for value in one.scored.values)
