"""The demo as a stranger runs it: real model, real server, real HTTP."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrt_reward import Client
from mrt_reward.cli.app import app
from mrt_reward.cli.demonstration import server_command
from mrt_reward.errors import ConfigError
from tests.server.conftest import threaded_server

RUN = CliRunner()


def test_the_demo_tells_a_story_and_a_summary() -> None:
    done = RUN.invoke(app, ["demo", "--problems", "3", "--traces", "2"], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "On the island map" in done.output
    assert re.search(r"traces scored\W+6 of 6", done.output)
    for message in (
        "accuracy",
        "wasted episodes",
        "revealed value",
        "normalised regret",
        "prefixes per second",
        "Mean value",
        "Revealed value: the chance of being right by what the prefix has shown so far",
        "Each line is of the traces that have j episodes",
        "`kill $!` stops the server",
    ):
        assert message in done.output
    assert "mrt-reward serve &\n  until curl -sf localhost:8000/readyz" in done.output


def test_the_command_it_ends_with_works() -> None:
    done = RUN.invoke(app, ["demo", "--problems", "1", "--traces", "1"], env={"COLUMNS": "160"})
    command = done.output.rstrip().splitlines()[-1]
    assert command.strip().startswith("curl -sS localhost:8000/v1/score")
    *asked, shown_by = command.split(" | ")
    assert shown_by == "python3 -m json.tool"
    body = json.loads(shlex.split(" | ".join(asked))[-1])
    # It is the trace that was shown.
    [shown] = body["traces"]
    assert f"Problem  {shown['problem']}" in done.output.replace("\n", " ")
    first_words = shown["completion"].split()[:3]
    assert f"z[0]     {' '.join(first_words)}" in done.output
    with threaded_server() as url, Client(url) as client:
        [scored] = client.score(body["traces"])
    assert scored.error is None


def test_the_server_is_started_by_a_name_that_the_shell_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = tmp_path / "our env" / "mrt-reward", tmp_path / "other" / "mrt-reward"
    for script in (ours, other):
        script.parent.mkdir()
        script.touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(ours.with_name("python")))
    for path, command in ((ours, "mrt-reward"), (other, f"'{ours}'"), (tmp_path, f"'{ours}'")):
        monkeypatch.setenv("PATH", str(path.parent if path.is_file() else path))
        assert server_command() == command
    # A script that stands elsewhere, as after pip install --user.
    ours.unlink()
    assert server_command() == "mrt-reward"


def test_without_torch_the_demo_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mrt_reward.cli.demonstration", None)
    done = RUN.invoke(app, ["demo"])
    assert isinstance(done.exception, ConfigError)
    assert "pip install" in str(done.exception)
