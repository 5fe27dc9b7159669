"""All of the suite, at a scale of seconds on a CPU: every part runs, and what has to hold holds."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.gpu.__main__ import chosen, main, measure
from tests.gpu.report import Report

PARTS = {
    "tiny": {"start", "equality", "likelihood", "rollouts", "coupled rollouts"},
    "one layer": {"attention"},
}


async def test_every_part_is_measured_and_holds_on_a_cpu(tmp_path: Path) -> None:
    report = Report(tmp_path, {}, time.monotonic() + 10_000)
    await measure(chosen(tiny=True, device=torch.device("cpu")), report)
    assert report.failures == []
    assert report.is_good, report.markdown()
    for model, parts in PARTS.items():
        named = {figure.name.partition(":")[0] for figure in report.figures if figure.name.endswith(": took")}
        assert parts <= named, model
    value = {figure.name: figure.value for figure in report.figures}
    # Four traces of five prefixes each; of two problems, whose traces share the empty one.
    assert value["likelihood: tokens computed over needed"] < 1.3
    assert "18 prefixes of 4 traces" in report.markdown()
    assert value["sampled answers: the same alone and side by side"] == 1.0
    assert value["what the next cut changes, over rounding"] > 20
    assert all(figure.value > 0 for figure in report.figures)
    record = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert len(record["figures"]) == len(report.figures)


def test_without_a_gpu_only_the_tiny_scale_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--out", str(tmp_path / "out"), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "give --tiny" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_full_scale_is_what_a_training_step_asks() -> None:
    what = chosen(tiny=False, device=torch.device("cpu"))
    assert what.models == ("0.6B", "1.7B")
    assert what.scale.num_traces == 16 * 8
    # 128 traces of 8 cuts, and the empty prefix of each problem.
    assert sum(spec.num_prefixes for spec in what.scale.specs) == 128 * 8 + 16
    assert (what.scale.num_samples, what.scale.answer_tokens) == (8, 64)
