"""The example trains as it stands, with another model, data and size by its flags."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mrt_trl import example

from mrt_reward.mini import MODEL_DIR
from tests.trl.policy import scripted_problems, scripted_server


def data_in(folder: Path) -> Path:
    """A dataset of the folder as the example loads it."""
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scripted_problems()))
    return folder


def test_the_example_trains_the_bundled_model_by_its_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {
        "model": MODEL_DIR,
        "dataset": data_in(tmp_path / "data"),
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
    }
    with scripted_server() as url:
        words = [word for name, value in {**flags, "url": url}.items() for word in (f"--{name}", str(value))]
        monkeypatch.setattr(sys, "argv", ["example.py", *words])
        example.main()
    state = json.loads((tmp_path / "out" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["log_history"][0]["mrt/traces/scored"] + state["log_history"][0]["mrt/traces/no_thinking"] == 4
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_help_says_what_each_argument_of_the_example_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["example.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        example.main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for flag, meaning in (
        ("--model MODEL", "Policy: name on the hub, or a folder. (default: Qwen/Qwen3-1.7B)"),
        ("--dataset DATASET", "Name on the hub, or a folder with train.jsonl; columns"),
        ("--url URL", "URL of the progress server; policy: the policy proves,"),
        (
            "--mrt MRT",
            'JSON object of more settings of MRT, which go before {"alpha": 16.0, "baseline": "rate", "pay_e',
        ),
    ):
        described = " ".join(shown.partition(f"\n  {flag} ")[2].split())
        assert described.startswith(meaning)


@pytest.mark.parametrize(
    ("mrt", "message"),
    [
        ("{alpha: 3}", "--mrt: expected a JSON object such as"),
        ("3", "--mrt: expected a JSON object such as"),
        ({"alhpa": 1}, "error: unknown setting mrt.alhpa; did you mean mrt.alpha?"),
        ({"estimator": "rollout"}, "expected one of likelihood, rollouts, got 'rollout'; did you mean 'rollouts'?"),
    ],
)
def test_a_setting_that_is_refused_ends_the_example_with_its_message_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mrt: dict[str, object] | str, message: str
) -> None:
    flags = {
        "model": MODEL_DIR,
        "dataset": tmp_path / "nowhere",  # nothing is read before the settings are
        "output_dir": tmp_path / "out",
        "use_vllm": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "mrt": mrt if isinstance(mrt, str) else json.dumps(mrt),
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["example.py", *words])
    with pytest.raises(SystemExit) as caught:
        example.main()
    # Not a number: Python prints it, and ends with status 1.
    assert message in str(caught.value.code)
