"""The drawing of the loop's logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from adapters.custom_loop import curves


def write_run(folder: Path, accuracies: list[float], threshold: float = 0.02) -> Path:
    folder.mkdir()
    entries = [
        {
            "mrt/outcome/mean": accuracy,
            "response_length/mean": 100.0,
            "mrt/regret": 0.5,
            "mrt/waste_threshold": threshold,
            # Of the first step nothing was scored.
            **({"mrt/progress/waste_share": 0.25} if step else {}),
        }
        for step, accuracy in enumerate(accuracies)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return folder


def test_seeds_are_averaged(tmp_path: Path) -> None:
    logs = [curves.read(write_run(tmp_path / "a", [0.0, 1.0, 1.0])), curves.read(write_run(tmp_path / "b", [0.5, 0.5]))]
    found = curves.curves_of(logs, 2)
    assert found["mrt/outcome/mean"].tolist() == [[0.0, 1.0], [0.5, 0.5]]
    # Step 1: (0 + 0.5)/2. Step 2, with the one before it: (0 + 1 + 0.5 + 0.5)/4.
    assert curves.running_mean(found["mrt/outcome/mean"]) == pytest.approx([0.25, 0.5])
    assert np.isnan(found["mrt/progress/waste_share"]).tolist() == [[True, False], [True, False]]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["curves.py", *map(str, words)])
    curves.main()


def test_the_same_runs_draw_the_same_picture_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, paid = write_run(tmp_path / "a", [0.25] * 7), write_run(tmp_path / "b", [0.25] * 5 + [0.75])
    for name in ("first.svg", "second.svg"):
        run(monkeypatch, f"GRPO={plain}", f"MRT={paid}", "--out", tmp_path / name)
    drawn = (tmp_path / "first.svg").read_text()
    assert drawn == (tmp_path / "second.svg").read_text()
    assert "waste: progress below 0.02" in drawn
    # One run of each label: there are no seeds to tell apart from their mean.
    assert "thin: single runs" not in drawn
    run(monkeypatch, f"GRPO={plain}", f"GRPO={paid}", "--out", tmp_path / "seeds.svg")
    assert "thin: single runs" in (tmp_path / "seeds.svg").read_text()
    capsys.readouterr()
    run(monkeypatch, f"GRPO={plain}", f"MRT={paid}", "--out", tmp_path / "again.svg")
    output = capsys.readouterr().out
    assert "| | GRPO, first 5 steps | MRT, first 5 steps | GRPO, last 5 steps | MRT, last 5 steps |" in output
    # Six steps are compared, because one run has no more.
    assert "| accuracy | 0.25 | 0.25 | 0.25 | 0.35 |" in output
    assert "| waste: progress below 0.02 | 0.25 | 0.25 | 0.25 | 0.25 |" in output


def test_what_cannot_be_drawn_together_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = write_run(tmp_path / "a", [0.5]), write_run(tmp_path / "b", [0.5], threshold=0.1)
    for words, message in (
        ([f"A={one}", f"B={other}"], "one threshold, got [0.02, 0.1]"),
        ([str(one)], "expected LABEL=FOLDER"),
        ([f"A={tmp_path}"], "log.jsonl in the folder"),
    ):
        with pytest.raises(SystemExit):
            run(monkeypatch, *words, "--out", tmp_path / "none.svg")
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none.svg").exists()
