"""The scripts around the suite: what they install, what they run, and that a failure is not swallowed."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.house.shape import ROOT

HERE = Path(__file__).parent

ON_THE_MACHINE = {"httpx", "numpy", "prometheus-client", "rich", "typer"}
"""Dependencies of ours that come with PyTorch's friends there."""

FAKE = """#!/bin/sh
echo "$@" >> "$CALLS"
case "$*" in
  *tests.gpu*) exit "${STATUS:-0}" ;;
  *"tests.study names"*) eval "$STUDY" ;;
esac
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A Python that writes down what it is asked."""
    python = tmp_path / "python3"
    python.write_text(FAKE)
    python.chmod(0o755)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "some-1-py3-none-any.whl").touch()
    return tmp_path


def run(fake: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    calls = fake / "calls"
    ours = {"PYTHON": str(fake / "python3"), "WHEELS": str(fake / "wheels"), "CALLS": str(calls), "STUDY": ""}
    done = subprocess.run(
        ["bash", HERE / "run.sh", fake / "out", *arguments],
        env={**os.environ, **ours, **environment},
        check=False,
        capture_output=True,
    )
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_wheels_are_installed_without_network_and_flags_are_passed_on(fake: Path) -> None:
    status, calls = run(fake, "--tiny", "--seconds", "9")
    assert status == 0
    assert "pip install" in calls[0]
    assert "--no-index" in calls[0]
    assert "some-1-py3-none-any.whl" in calls[0]
    assert calls[1:] == [f"-m tests.gpu --out {fake / 'out'} --tiny --seconds 9"]


def test_without_wheels_nothing_is_installed(fake: Path) -> None:
    status, calls = run(fake, WHEELS=str(fake / "none"))
    assert status == 0
    assert calls == [f"-m tests.gpu --out {fake / 'out'}"]


def test_a_failure_is_the_scripts_own_and_the_study_comes_all_the_same(fake: Path) -> None:
    status, calls = run(fake, "--study", "quick", STATUS="3")
    assert status == 3
    assert any(call.startswith("-m tests.study names --stage quick") for call in calls)
    assert any(call.startswith("-m tests.study report --stage quick --out") for call in calls)
    with tarfile.open(fake / "out" / "study.tgz") as packed:
        assert "study/quick/report.md" in packed.getnames()


def test_what_the_study_did_is_packed_when_its_time_is_up(fake: Path) -> None:
    status, calls = run(fake, "--study", "quick", STUDY="exec sleep 60", STUDY_SECONDS="1")
    assert status == 0
    assert any(call.startswith("-m tests.study names") for call in calls)
    assert not any(call.startswith("-m tests.study report") for call in calls)
    with tarfile.open(fake / "out" / "study.tgz") as packed:
        assert "study/quick" in packed.getnames()


def test_the_wheels_are_all_that_we_depend_on_and_the_machine_lacks() -> None:
    script = (HERE / "wheels.sh").read_text(encoding="utf-8")
    [names] = re.findall(r"^names='(.*?)'", script, re.M | re.S)
    carried = {name.lower().replace("_", "-") for name in names.split()}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [listed] = re.findall(r"^dependencies = \[(.*?)^\]", project, re.M | re.S)
    ours = set(re.findall(r'^  "([a-z-]+)', listed, re.M))
    assert len(ours) > 10
    assert ours <= carried | ON_THE_MACHINE
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints" / "cpu.txt").read_text(encoding="utf-8").splitlines()
    }
    assert carried <= pinned
