"""Loading a model for the embedded engine: what is refused, and the precision of its logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import transformers

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.provers.hf.loading import with_full_precision_head
from mrt_reward.provers.hf.prover import TransformersProver
from tests.provers.conftest import MAX_TOKENS, save_model


def test_logits_are_in_full_precision_whatever_the_dtype(qwen_dir: Path) -> None:
    load = cast("Any", transformers.AutoModelForCausalLM).from_pretrained
    model, plain = (load(qwen_dir, dtype=torch.bfloat16).eval() for _ in range(2))
    model = with_full_precision_head(model)
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        logits, rounded = model(ids).logits, plain(ids).logits
        hidden = plain.model(ids).last_hidden_state
    assert (logits.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    exact = torch.nn.functional.linear(hidden.float(), plain.lm_head.weight.float())
    torch.testing.assert_close(logits, exact)
    assert (rounded.float() - exact).abs().max() > 100 * (logits - exact).abs().max()
    # In float32 there is nothing to do.
    wide = load(qwen_dir, dtype=torch.float32)
    assert with_full_precision_head(wide).lm_head is wide.lm_head


def test_what_cannot_be_loaded_is_refused(qwen_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="engine 'transformers' needs a model"):
        TransformersProver(EngineSettings())
    with pytest.raises(ConfigError, match="engine_args are vLLM's"):
        TransformersProver(EngineSettings(model=str(qwen_dir), engine_args={"max_num_seqs": 4}))
    with pytest.raises(ConfigError, match="max_model_len must be in"):
        TransformersProver(EngineSettings(model=str(qwen_dir), max_model_len=MAX_TOKENS + 1))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="cannot be loaded"):
        TransformersProver(EngineSettings(model=str(tmp_path / "empty")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="neither a folder"):
        TransformersProver(EngineSettings(model="not a/model name"))


def test_loading_writes_no_bar_and_leaves_those_of_others_as_they_were(
    qwen_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    TransformersProver(EngineSettings(model=str(qwen_dir)))
    assert capfd.readouterr().err == ""
    cast("Any", transformers.AutoModelForCausalLM).from_pretrained(qwen_dir)
    assert "Loading weights" in capfd.readouterr().err


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_a_context_ends_where_rotary_angles_would_change(tmp_path: Path, kind: str) -> None:
    rope: dict[str, object] = {
        "rope_type": kind, "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 512,
    }  # fmt: skip
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 32, "long_factor": [4.0] * 32}
    save_model(tmp_path / kind, "Llama", rope_parameters=rope)
    prover = TransformersProver(EngineSettings(model=str(tmp_path / kind)))
    assert prover.info.max_tokens == 512
    with pytest.raises(ConfigError, match="max_model_len must be in \\[2, 512\\]"):
        TransformersProver(EngineSettings(model=str(tmp_path / kind), max_model_len=MAX_TOKENS))
