from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from mrt_reward.cli.app import app

RUN = CliRunner()


def test_training_leaves_a_model_with_its_card(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    done = RUN.invoke(app, ["mini", "train", str(folder), "--steps", "1", "--tidy", "--seed", "3", "--problems", "0"])
    assert done.exit_code == 0, done.output
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "README.md").exists()


def test_the_bundled_model_is_measured_by_default() -> None:
    done = RUN.invoke(app, ["mini", "evaluate", "--problems", "3"], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "3 fresh problems" in done.output
    assert "accuracy at the policy's budget" in done.output
