"""Starting an engine, and what it refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError, ProverError
from mrt_reward.mini import MODEL_DIR
from tests.vllm.conftest import MAX_MODEL_LEN

if TYPE_CHECKING:
    from mrt_reward.provers.vllm.prover import VLLMProver

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_request_that_the_engine_refuses_is_a_typed_error(prover: VLLMProver) -> None:
    runner = prover._serving.runner
    with pytest.raises(ProverError) as raised:
        await runner.generate_token([5] * (prover.engine.max_model_len + 1))
    assert raised.value.code == "refused_by_engine"
    await asyncio.wait_for(prover.check(), 30)


async def test_settings_that_cannot_work_are_reported_before_anything_starts(tmp_path: Path) -> None:
    from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415

    with pytest.raises(ConfigError, match="neither a folder here nor a model"):
        VLLMProver(EngineSettings(model=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match="no engine argument 'max_num_seq'; did you mean 'max_num_seqs'"):
        VLLMProver(EngineSettings(model=str(MODEL_DIR), engine_args={"max_num_seq": 4}))
    with pytest.raises(ConfigError, match="'dtype' cannot be given"):
        VLLMProver(EngineSettings(model=str(MODEL_DIR), engine_args={"dtype": "float16"}))
    with pytest.raises(ConfigError, match="lower max_model_len"):
        VLLMProver(EngineSettings(model=str(MODEL_DIR), max_model_len=1_000_000))


async def test_a_cache_that_is_too_small_is_reported() -> None:
    from mrt_reward.provers.vllm.prover import VLLMProver  # noqa: PLC0415

    with pytest.raises(ConfigError, match="kv_cache_memory_bytes"):
        await asyncio.to_thread(
            VLLMProver,
            EngineSettings(
                model=str(MODEL_DIR), max_model_len=MAX_MODEL_LEN, engine_args={"kv_cache_memory_bytes": 1_000_000}
            ),
        )
