"""The example trains as it stands, with another model, data and size by its flags."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mrt_trl import example

from mrt_reward.mini import MODEL_DIR
from tests.trl.policy import scripted_problems, scripted_server


def test_the_example_trains_the_bundled_model_by_its_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scripted_problems()))
    flags = {
        "model": MODEL_DIR,
        "dataset": data,
        "output_dir": tmp_path / "out",
        "use_vllm": False,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "num_generations": 4,
        "max_completion_length": 48,
        "mask_truncated_completions": False,
        "save_steps": 1,
        "mrt": '{"alpha": 16, "baseline": "rate", "pay_ending": true}',
    }
    with scripted_server() as url:
        words = [word for name, value in {**flags, "url": url}.items() for word in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["example.py", *words])
        example.main()
    state = json.loads((tmp_path / "out" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["log_history"][0]["mrt/traces/scored"] + state["log_history"][0]["mrt/traces/no_thinking"] == 4
    assert (tmp_path / "out" / "model.safetensors").is_file()
