from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mrt_reward.cli import direct
from mrt_reward.cli import evaluate as verb
from mrt_reward.cli.app import app
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from tests.evaluation.conftest import CountingProver
from tests.service.conftest import WordGrader, speller

RUN = CliRunner()


@pytest.fixture
def prover(monkeypatch: pytest.MonkeyPatch) -> CountingProver:
    """Stands in for the engine, so that these tests are about files and flags."""
    scripted = CountingProver()

    def build(settings: ServeSettings) -> Scorer:
        del settings
        return Scorer(scripted, {"word": WordGrader()}, speller)

    for module in (verb, direct):
        monkeypatch.setattr(module, "build_scorer", build)
    return scripted


def problems(path: Path) -> Path:
    rows = [{"id": f"p{index}", "problem": f"Question {index}?", "answer": "42"} for index in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def evaluate(tmp_path: Path, *flags: str) -> list[str]:
    source = problems(tmp_path / "problems.jsonl")
    return ["evaluate", str(source), "-o", str(tmp_path / "out"), "--max-tokens", "40", "--traces", "2", *flags]


def test_problems_become_a_report_and_two_models_are_compared(tmp_path: Path, prover: CountingProver) -> None:
    done = RUN.invoke(app, evaluate(tmp_path, "--name", "one", "--budget", "100", "--votes", "2", "--target", "0.4"))
    assert done.exit_code == 0, done.output
    assert "6 traces scored (6 sampled, 0 partial), 0 failed, 0 already there" in done.output
    for name in ("traces.jsonl", "results.jsonl", "summary.json", "report.md", "report.html", "settings.json"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    done = RUN.invoke(app, evaluate(tmp_path, "--name", "two", "--extend", "1", "--extend-tokens", "30"))
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [model["name"] for model in record["models"]] == ["one", "two"]
    assert record["differences"][0]["metrics"]["final"]["problems"] == 3
    assert "extended_accuracy" in record["models"][1]["curves"]
    done = RUN.invoke(app, ["report", str(tmp_path / "out"), "-o", str(tmp_path / "other"), "--budget", "64"])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "other" / "summary.json").read_text())["budgets"] == [64.0]


def test_another_model_answers_without_thinking(tmp_path: Path, prover: CountingProver) -> None:
    flags = ("--direct", "large", "--direct-answers", "4", "--direct-tokens", "40")
    done = RUN.invoke(app, evaluate(tmp_path, *flags))
    assert done.exit_code == 0, done.output
    assert "3 problems answered without thinking, 0 failed, 0 already there" in done.output
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [each["name"] for each in record["direct"]] == ["large, direct"]
    assert (record["gains"][0]["second"], record["gains"][0]["first"]) == ("mini", "large, direct")
    # Again: no engine is built for it. In another way: refused. With settings of its own: another one.
    calls = prover.num_calls
    done = RUN.invoke(app, evaluate(tmp_path, *flags))
    assert "0 problems answered without thinking, 0 failed, 3 already there" in done.output
    assert prover.num_calls == calls
    refused = RUN.invoke(app, evaluate(tmp_path, *flags, "--direct-closed"))
    assert "another closed" in str(refused.exception)
    own = f"small={json.dumps({'model': 'small', 'engine': 'vllm'})}"
    done = RUN.invoke(app, evaluate(tmp_path, "--direct", own, "--direct-answers", "2"))
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [each["name"] for each in record["direct"]] == ["large, direct", "small, direct"]
    refused = RUN.invoke(app, evaluate(tmp_path, "--direct", "small={"))
    assert "--direct 'small={': expected NAME=JSON" in str(refused.exception)


def test_votes_are_weighted_where_the_engine_tells_log_probabilities(
    tmp_path: Path, prover: CountingProver, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = RUN.invoke(app, evaluate(tmp_path, "--weighted-votes"))
    assert isinstance(refused.exception, ConfigError)
    assert "engine 'scripted' with scripted does not tell" in str(refused.exception)
    assert prover.num_calls == 1
    # Evaluated without: their report cannot weigh them either.
    assert RUN.invoke(app, evaluate(tmp_path)).exit_code == 0
    refused = RUN.invoke(app, ["report", str(tmp_path / "out"), "--weighted-votes"])
    assert "8 of a prefix's 8 answers have none" in str(refused.exception)
    # Half of the answers are right. Each weighs more than a wrong one: of four against four the right ones win.
    telling = ScriptedProver(lambda _text, _index: 0.5, answer="42", wrong="7", logprobs=(-0.1, -0.2))
    for module in (verb, direct):
        monkeypatch.setattr(module, "build_scorer", lambda _: Scorer(telling, {"word": WordGrader()}, speller))
    flags = ("--weighted-votes", "--overwrite", "--direct", "large", "--direct-answers", "2")
    done = RUN.invoke(app, evaluate(tmp_path, *flags))
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert record["weighted_votes"] is True
    [model], [plain] = record["models"], record["direct"]
    assert {point["value"] for point in model["curves"]["episodes:maj@8"]["points"]} == {1.0}
    assert [point["value"] for point in plain["curves"]["votes"]["points"]] == [0.5, 1.0]
    assert "Votes are weighted" in (tmp_path / "out" / "report.md").read_text()
    by_likelihood = '{"estimator": {"kind": "likelihood"}}'
    refused = RUN.invoke(app, evaluate(tmp_path, "--weighted-votes", "--overwrite", "--options", by_likelihood))
    assert "likelihoods know no votes" in str(refused.exception)


def test_it_goes_on_in_one_way_only(tmp_path: Path, prover: CountingProver) -> None:
    assert RUN.invoke(app, evaluate(tmp_path)).exit_code == 0
    calls = prover.num_calls
    done = RUN.invoke(app, evaluate(tmp_path))
    assert "0 failed, 6 already there" in done.output
    assert re.search(r"mini: accuracy at the end \d\.\d{3} \[.*\], normalised regret to \d+ tokens 0\.", done.output)
    assert prover.num_calls == calls
    refused = RUN.invoke(app, evaluate(tmp_path, "--seed", "1"))
    assert isinstance(refused.exception, ConfigError)
    assert "another sampling" in str(refused.exception)
    assert RUN.invoke(app, evaluate(tmp_path, "--seed", "1", "--overwrite")).exit_code == 0
    assert prover.num_calls > calls


def test_what_failed_is_reported_and_the_rest_is_reported(tmp_path: Path, prover: CountingProver) -> None:
    source = problems(tmp_path / "problems.jsonl")
    with source.open("a") as file:
        file.write('{"id": "unanswerable", "problem": "Q?"}\n{not json\n')
    done = RUN.invoke(app, ["evaluate", str(source), "-o", str(tmp_path / "out"), "--max-tokens", "40"])
    assert done.exit_code == 1
    assert "2 failed" in done.output
    assert "unanswerable" in done.output
    assert "2 traces or problems have no value" in (tmp_path / "out" / "report.md").read_text()


def test_folders_and_flags_are_checked(tmp_path: Path, prover: CountingProver) -> None:
    (tmp_path / "file").write_text("")
    source = problems(tmp_path / "problems.jsonl")
    cases = (
        (["evaluate", str(source), "-o", str(tmp_path / "file" / "out")], "can be written"),
        (["evaluate", str(source), "-o", str(tmp_path / "o"), "--budget", "-1"], "budgets must be above 0"),
        (["report", str(tmp_path)], "run `mrt-reward evaluate` first"),
    )
    for words, message in cases:
        done = RUN.invoke(app, words)
        assert isinstance(done.exception, ConfigError), done.output
        assert message in str(done.exception)


def test_a_model_that_does_not_think_is_said_while_there_is_time(tmp_path: Path, prover: CountingProver) -> None:
    rows = [{"prompt": f"{index}?", "completion": "42", "answer": "42"} for index in range(12)]
    source = tmp_path / "traces.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = RUN.invoke(app, ["evaluate", str(source), "-o", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert done.output.count("none of the first 8 traces thinks") == 1


def test_input_is_checked_before_an_engine_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: ServeSettings) -> Scorer:
        raise AssertionError(settings)

    monkeypatch.setattr(verb, "build_scorer", build)
    source = tmp_path / "in.jsonl"
    for text, message in (
        ("", "holds no row"),
        ('{"question": "q", "label": "42"}', "did you mean --map problem=question --map answer=label?"),
        ('{"problem": "q", "target": "42"}', "no row has an `answer`, which the grader 'math' needs"),
    ):
        source.write_text(text)
        refused = RUN.invoke(app, ["evaluate", str(source), "-o", str(tmp_path / "out")])
        assert isinstance(refused.exception, ConfigError)
        assert message in str(refused.exception)
    assert not (tmp_path / "out").exists()


def test_columns_of_other_names_are_mapped(tmp_path: Path, prover: CountingProver) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"question": "q", "label": "42"}\n')
    flags = ["--map", "problem=question", "--map", "answer=label", "--traces", "1", "--max-tokens", "40"]
    done = RUN.invoke(app, ["evaluate", str(source), "-o", str(tmp_path / "out"), *flags])
    assert done.exit_code == 0, done.output
    [line] = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert (line["trace"]["problem"], line["trace"]["answer"]) == ("q", ["42"])
    assert line["options"]["estimator"]["kind"] == "rollouts"


def test_a_model_whose_values_would_not_compare_is_refused_before_it_is_evaluated(
    tmp_path: Path, prover: CountingProver
) -> None:
    assert RUN.invoke(app, evaluate(tmp_path, "--name", "one")).exit_code == 0
    calls = prover.num_calls
    likelihood = ["--name", "two", "--options", '{"estimator": {"kind": "likelihood"}}']
    refused = RUN.invoke(app, evaluate(tmp_path, *likelihood))
    assert isinstance(refused.exception, ConfigError)
    assert "holds 'one' valued by rollouts, temperature 0.6" in str(refused.exception)
    assert prover.num_calls == calls
    # Files that came together otherwise are refused by the report.
    apart = tmp_path / "apart"
    apart.mkdir()
    assert RUN.invoke(app, evaluate(apart, *likelihood)).exit_code == 0
    refused = RUN.invoke(app, ["report", str(tmp_path / "out"), str(apart / "out"), "-o", str(tmp_path / "both")])
    assert "got lines of rollouts (6), likelihood (6)" in str(refused.exception)
