"""`mrt-reward audit`, from file to table and file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrt_reward.cli.app import app
from mrt_reward.errors import ConfigError
from tests.evaluation.datasets.made import line, scored, write

RUN = CliRunner()
WORK = (
    "We walk from here to there and find out what is behind the second door, which takes a good while to do well.\n\n"
)


def run(*words: object) -> str:
    done = RUN.invoke(app, ["audit", *map(str, words)], env={"COLUMNS": "160"})
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*words: object) -> str:
    done = RUN.invoke(app, ["audit", *map(str, words)])
    assert isinstance(done.exception, ConfigError), done.output
    return str(done.exception)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    honest = line(scored("honest", [WORK], [0.2, 0.8]))
    bare = line(scored("bare\x1b[2J", ["So it is 42.\n\n"], [0.2, 1.0]))
    boxed = line(scored("boxed", [WORK + r"\boxed{1} \boxed{2}"], [0.2, 0.3], outcome=0.0))
    failed = {**honest, "id": "f", "status": "error", "error": {"message": "m", "type": "t", "code": "no_thinking"}}
    path = write(tmp_path / "scored.jsonl", honest, bare, boxed, failed)
    path.write_text(path.read_text() + '{"id": "half')
    return path


def test_a_run_is_reported_by_sign_and_by_trace(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "audit.json"
    output = run(file, "-o", out)
    assert "2 of 3 traces have a sign" in output
    assert "1 lines skipped: cut short" in output
    assert "no thinking" in output
    # What a run calls its traces does not reach the terminal's controls.
    assert "\x1b[2J" not in output
    assert output.index("bare\N{REPLACEMENT CHARACTER}[2J") < output.index("boxes 2")
    record = json.loads(out.read_text())
    assert (record["traces"], record["prover"]) == (3, "m@1")
    assert [each["id"] for each in record["found"]] == ["bare\x1b[2J", "boxed"]
    assert record["found"][0]["signs"] == {"bare": 1.0}
    assert record["signs"]["boxes"]["traces"] == 1
    assert record["no_sign"] == {"traces": 1, "share": pytest.approx(1 / 3), "progress": pytest.approx(0.6)}
    assert record["unusable"] == {"no thinking": 1}


def test_a_flag_moves_from_where_on_a_sign_counts(file: Path) -> None:
    assert "1 of 3 traces have a sign" in run(file, "--bare-words", 3)
    assert "those that earned most" not in run(file, "--show", 0)


def test_what_cannot_be_audited_is_refused_with_what_to_do(file: Path, tmp_path: Path) -> None:
    assert "no usable trace" in refused(write(tmp_path / "e.jsonl"))
    assert "times must be above 1" in refused(file, "--times", 1)
    assert "choose one with --policy" in refused(
        write(tmp_path / "two.jsonl", *(line(scored(name, [WORK], [0.1, 0.2]), extra={"model": name}) for name in "ab"))
    )
