from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrt_reward.mini import MODEL_DIR
from tests.study.__main__ import app
from tests.study.arms import ARMS, QUICK
from tests.study.evaluating import METRICS

RUNNER = CliRunner()


def test_the_names_of_a_stage_are_what_a_script_makes_at_once() -> None:
    report = RUNNER.invoke(app, ["names", "--stage", "quick"])
    assert report.stdout.split("\n")[:-1] == [f"{arm} {seed}" for seed in (0, 1) for arm in QUICK]
    assert len(RUNNER.invoke(app, ["names", "--stage", "one"]).stdout.splitlines()) == 2 * len(ARMS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--stage", "nine"], "there is no stage 'nine'"),
        (["--arm", "best"], "there is no arm 'best'"),
        (["--values", "guessed"], "expected one of revealed, likelihood, answers"),
        (["--values", "revealed", "--following"], "no prover that could follow"),
    ],
)
def test_what_is_not_there_is_named_before_anything_is_loaded(given: list[str], said: str, tmp_path: Path) -> None:
    report = RUNNER.invoke(app, ["run", "--policy", str(MODEL_DIR), "--out", str(tmp_path / "runs"), *given])
    assert report.exit_code == 1
    assert said in str(report.exception)
    assert not (tmp_path / "runs").exists()


def test_a_policy_is_evaluated_without_a_run() -> None:
    report = RUNNER.invoke(app, ["evaluate", "--regime", "short", "--problems", "2", "--traces", "1", "--threads", "1"])
    assert report.exit_code == 0, report.output
    found = {name: float(value) for name, value in map(str.split, report.stdout.splitlines())}
    assert set(found) == set(METRICS)
    assert 0 <= found["regret"] <= 1
    assert found["tokens"] > 0


def test_a_stage_is_compared_with_one_of_other_steps() -> None:
    report = RUNNER.invoke(app, ["report", "--stage", "early", "--beside", "tuning", "--values", "likelihood"])
    assert report.exit_code == 0, report.output
    assert "rate-16 (likelihood, 12 steps)" in report.output
    assert "rate-16 (likelihood, warm-up of 5 steps, 12 steps)" in report.output
    other = RUNNER.invoke(app, ["report", "--stage", "early", "--beside", "four"])
    assert other.exit_code == 1
    assert "expected runs that were evaluated on the same problems at the end" in str(other.exception)


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    report = RUNNER.invoke(app, ["report", "--out", str(tmp_path)])
    assert report.exit_code == 1
    assert "no run is done yet" in str(report.exception)
