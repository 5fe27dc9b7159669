"""The Python of the evaluation README runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import mrt_reward.evaluation
from mrt_reward.files import write_jsonl
from mrt_reward.mini.island import sample_problem

README = Path(mrt_reward.evaluation.__file__).with_name("README.md")


def test_its_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    look, run = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    rng = np.random.default_rng(0)
    problems = [sample_problem(rng) for _ in range(3)]
    monkeypatch.chdir(tmp_path)
    write_jsonl(Path("problems.jsonl"), ({"problem": each.text, "answer": str(each.answer)} for each in problems))
    exec(compile(run, README, "exec"), {})
    assert "sampled=6, scored=6" in capsys.readouterr().out
    assert Path("out/report.html").is_file()
    exec(compile(look, README, "exec"), {})
    assert capsys.readouterr().out.startswith("mini ")
