from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mrt_reward.cli import score as verb
from mrt_reward.cli.app import app
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError, ProverUnavailable
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.prompting import BARE_CLOSE
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import TRACE, VALUES, threaded_server
from tests.service.conftest import WordGrader, speller

RUN = CliRunner()


@pytest.fixture
def prover(monkeypatch: pytest.MonkeyPatch) -> ScriptedProver:
    """Stands in for the engine, so that these tests are about files."""
    scripted = ScriptedProver(VALUES, fail_on="poison")

    def build(settings: ServeSettings) -> Scorer:
        del settings
        return Scorer(scripted, {"word": WordGrader()}, speller)

    monkeypatch.setattr(verb, "build_scorer", build)
    monkeypatch.setattr(verb, "expected_name", lambda _: scripted.info.name)
    monkeypatch.setattr(verb, "expected_version", lambda _, download: scripted.info.version)
    monkeypatch.setattr(verb, "expected_note", lambda _: scripted.info.note)
    return scripted


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(row + "\n" if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_traces_are_scored_and_other_columns_pass_through(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", {**TRACE, "colour": "red", "answer": 42}, {**TRACE}, "")
    done = RUN.invoke(app, ["score", str(source)])
    assert done.exit_code == 0, done.output
    assert "colour" in done.output
    assert "answers from a script" in done.output
    first, second = read(tmp_path / "in.scored.jsonl")
    assert first["extra"] == {"colour": "red"}
    assert [value["value"] for value in first["values"]] == pytest.approx(VALUES)
    assert first["trace"]["completion"] == TRACE["completion"]
    assert first["trace"]["answer"] == ["42"]
    assert len(first["prefix_tokens"]) == len(VALUES)
    assert (first["id"], second["id"]) == ("t", "t#2")
    assert "rows with the id of an earlier one: 1, written as ID#2 and so on, the first as 't#2';" in done.output
    assert "options of scoring" not in done.output


def test_a_grader_that_nobody_has_is_refused_before_a_model_is_looked_for(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", TRACE)
    done = RUN.invoke(app, ["score", str(source), "--options", '{"grader": "mth"}', "--model", "/no/such/model"])
    assert isinstance(done.exception, ConfigError)
    assert "unknown grader 'mth': expected one of math" in str(done.exception)
    assert not (tmp_path / "in.scored.jsonl").exists()


def test_options_in_a_row_are_said_to_be_none(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(
        tmp_path / "in.jsonl", {**TRACE, "estimator": {"kind": "rollouts"}, "num_samples": 4, "colour": "red"}
    )
    done = RUN.invoke(app, ["score", str(source)])
    note = "of these, options of scoring change nothing in a row: give estimator, num_samples in --options\n"
    assert note in done.output
    assert "earlier one" not in done.output


def test_rows_with_one_id_are_all_scored_once_also_after_a_kill(tmp_path: Path, prover: ScriptedProver) -> None:
    # What the second row would be called is the third one's own id.
    ids = ("t", "t", "t#2", "t")
    source = write(tmp_path / "in.jsonl", *({**TRACE, "id": name, "problem": f"{j}?"} for j, name in enumerate(ids)))
    output = tmp_path / "in.scored.jsonl"
    assert RUN.invoke(app, ["score", str(source)]).exit_code == 0
    whole = {row["id"]: row["trace"]["problem"] for row in read(output)}
    assert sorted(whole.values()) == ["0?", "1?", "2?", "3?"]
    output.write_text("".join(output.read_text().splitlines(keepends=True)[:2]))
    assert RUN.invoke(app, ["score", str(source)]).exit_code == 0
    assert {row["id"]: row["trace"]["problem"] for row in read(output)} == whole
    # In another order the ids would be others': nothing is written.
    write(source, *({**TRACE, "id": name, "problem": f"{j}?"} for j, name in reversed(list(enumerate(ids)))))
    done = RUN.invoke(app, ["score", str(source)])
    assert isinstance(done.exception, ConfigError)
    assert "holds the scores of another 't'" in str(done.exception)


def test_what_is_no_json_number_is_missing(tmp_path: Path, prover: ScriptedProver) -> None:
    # As pandas writes columns with missing values.
    source = write(tmp_path / "in.jsonl", json.dumps({**TRACE, "difficulty": float("nan"), "outcome": float("inf")}))
    assert RUN.invoke(app, ["score", str(source)]).exit_code == 0
    [row] = read(tmp_path / "in.scored.jsonl")
    assert row["extra"] == {"difficulty": None}


def test_it_goes_on_where_it_was_stopped(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", *({**TRACE, "id": str(index), "problem": str(index)} for index in range(3)))
    output = tmp_path / "out.jsonl"
    assert RUN.invoke(app, ["score", str(source), "-o", str(output)]).exit_code == 0
    whole = output.read_text().splitlines()
    # A kill in the middle of the second line.
    output.write_text(whole[0] + "\n" + whole[1][:50])
    prover.proofs.clear()
    done = RUN.invoke(app, ["score", str(source), "-o", str(output)])
    assert "2 ok, 0 partial, 0 failed, 1 already there" in done.output
    assert sorted(row["id"] for row in read(output)) == ["0", "1", "2"]
    assert len(prover.proofs) == 2
    assert RUN.invoke(app, ["score", str(source), "-o", str(output), "--overwrite"]).exit_code == 0
    assert len(prover.proofs) == 5


def test_bad_lines_are_errors_of_their_own_and_are_tried_again(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {**TRACE, "id": "good"},
        "{not json",
        "[1]",
        "[" * 100_000,
        {"id": "promptless", "completion": "c"},
        {**TRACE, "id": "typed", "outcome": "high"},
        {**TRACE, "id": "poisoned", "completion": "poison</think>"},
    )
    done = RUN.invoke(app, ["score", str(source)])
    assert done.exit_code == 1
    assert "1 ok, 0 partial, 6 failed" in done.output
    errors = {row["id"]: row["error"] for row in read(tmp_path / "in.scored.jsonl") if row["error"]}
    assert set(errors) == {"line-2", "line-3", "line-4", "promptless", "typed", "poisoned"}
    assert errors["typed"]["param"] == "outcome"
    again = RUN.invoke(app, ["score", str(source)])
    assert "0 ok, 0 partial, 6 failed, 1 already there" in again.output


def test_a_server_may_do_the_work(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", TRACE, {**TRACE, "id": "u"})
    with threaded_server() as url:
        assert RUN.invoke(app, ["score", str(source), "--url", url]).exit_code == 0
    assert [row["status"] for row in read(tmp_path / "in.scored.jsonl")] == ["ok", "ok"]


def test_a_run_that_never_began_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: ServeSettings) -> Scorer:
        raise ConfigError("no such model")

    monkeypatch.setattr(verb, "build_scorer", refused)
    failed = RUN.invoke(app, ["score", str(write(tmp_path / "in.jsonl", TRACE))])
    assert "no such model" in str(failed.exception)
    assert not (tmp_path / "in.scored.jsonl").exists()


def test_the_provers_note_is_said_also_where_nothing_is_left_to_score(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", TRACE)
    for num_there in range(2):
        done = RUN.invoke(app, ["score", str(source)])
        assert f"{num_there} already there" in done.output
        assert done.output.count(f"note: {prover.info.note}") == 1


def test_who_interrupts_learns_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "in.scored.jsonl"

    class Interrupted(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            if self.proofs:
                while not output.read_text():  # noqa: ASYNC110 - another task's file
                    await asyncio.sleep(0.01)
                signal.raise_signal(signal.SIGINT)
            return await super().prove(proof)

    monkeypatch.setattr(verb, "build_scorer", lambda _: Scorer(Interrupted(VALUES), {"word": WordGrader()}, speller))
    rows = ({**TRACE, "id": str(index), "problem": str(index)} for index in range(2))
    done = RUN.invoke(app, ["score", str(write(tmp_path / "in.jsonl", *rows))])
    assert done.exit_code == 130
    assert "keeps 1 scored traces; the same command goes on after them" in done.output


@pytest.mark.parametrize("remote", [False, True])
def test_what_holds_for_all_traces_is_said_once_at_the_end(
    tmp_path: Path, prover: ScriptedProver, *, remote: bool
) -> None:
    prompt = "<|im_start|>assistant\n</think>"
    row = {"prompt": prompt, "completion": "<think>a</think>42", "answer": "42"}
    source = write(tmp_path / "in.jsonl", row, row, row)
    with threaded_server() as url:
        done = RUN.invoke(app, ["score", str(source), *(["--url", url] if remote else [])])
    assert done.exit_code == 0, done.output
    assert done.output.count(f"note: {prover.info.note}") == 1
    assert done.output.count(f"note: {BARE_CLOSE}") == 1
    assert [trace["warnings"] for trace in read(tmp_path / "in.scored.jsonl")] == [[], [], []]


def test_an_endpoint_may_prove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[ServeSettings] = []

    def build(settings: ServeSettings) -> Scorer:
        built.append(settings)
        return Scorer(ScriptedProver(VALUES), {"word": WordGrader()}, speller)

    monkeypatch.setattr(verb, "build_scorer", build)
    source = write(tmp_path / "traces.jsonl", TRACE)
    words = ["--engine", "openai", "--engine-url", "http://127.0.0.1:9", "--tokenizer", "folder"]
    assert RUN.invoke(app, ["score", str(source), *words]).exit_code == 0
    [settings] = built
    assert (settings.engine, settings.engine_url, settings.tokenizer) == ("openai", "http://127.0.0.1:9", "folder")


def test_options_come_as_json_as_a_file_or_by_name(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", TRACE)
    options = write(tmp_path / "options.json", {"segmenter": {"kind": "paragraphs", "group": 100}})
    for text, num_episodes in ((f"@{options}", 1), ('{"terminator": "boxed"}', 3), ("mrt-regret", 1)):
        assert RUN.invoke(app, ["score", str(source), "--overwrite", "--options", text]).exit_code == 0
        assert len(read(tmp_path / "in.scored.jsonl")[0]["episodes"]) == num_episodes


def test_the_input_is_never_overwritten_and_options_are_checked(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", TRACE)
    for flags, message in ((["-o", str(source)], "input itself"), (["--options", "[1]"], "--options")):
        done = RUN.invoke(app, ["score", str(source), *flags])
        assert isinstance(done.exception, ConfigError)
        assert message in str(done.exception)


def test_a_file_is_gone_on_with_in_one_way_only(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", {**TRACE, "id": "a"}, {**TRACE, "id": "b"})
    output = tmp_path / "out.jsonl"
    words = ["score", str(source), "-o", str(output), "--grader", "math", "--grader", "word=exact"]
    assert RUN.invoke(app, words).exit_code == 0
    before = output.read_bytes()
    for options, message in (
        ('{"segmenter": {"kind": "markers"}}', "segmenter: balanced, now markers"),
        ('{"segmenter": {"kind": "balanced", "max_episodes": 3}}', "segmenter.max_episodes: 8, now 3"),
        ('{"grader": "word"}', 'grader: "math", now "word"'),
    ):
        refused = RUN.invoke(app, [*words, "--options", options])
        assert isinstance(refused.exception, ConfigError)
        assert message in str(refused.exception)
        assert "--overwrite" in str(refused.exception)
    # A trace of the input was edited, and its id stayed.
    write(source, {**TRACE, "id": "a"}, {**TRACE, "id": "b", "problem": "Another?"})
    refused = RUN.invoke(app, words)
    assert "holds the scores of another 'b', whose problem differ" in str(refused.exception)
    # Another model, and a trace that is not there yet.
    write(source, {**TRACE, "id": "a"}, {**TRACE, "id": "c"})
    output.write_bytes(before.replace(b"scripted@1", b"larger@7"))
    refused = RUN.invoke(app, words)
    assert "was scored by larger@7, and the prover is scripted@1" in str(refused.exception)
    # A file of an earlier version does not say how it was scored.
    write(output, *({name: value for name, value in row.items() if name != "options"} for row in read(output)))
    assert "the file does not say which" in str(RUN.invoke(app, words).exception)
    assert len(read(output)) == 2
    assert RUN.invoke(app, [*words, "--overwrite"]).exit_code == 0


def test_a_finished_file_is_not_said_to_be_of_another_prover(
    tmp_path: Path, prover: ScriptedProver, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "in.jsonl", {**TRACE, "id": "a"}, {**TRACE, "id": "b"})
    output = tmp_path / "out.jsonl"
    words = ["score", str(source), "-o", str(output)]
    assert f"{output}: proved by scripted@1\n" in RUN.invoke(app, words).output
    before = output.read_bytes()
    prover.version = "2"
    assert "was scored by scripted@1, and the prover is scripted@2" in str(RUN.invoke(app, words).exception)
    prover.version = "1"
    assert "proved by scripted@1\n" in RUN.invoke(app, words).output
    # Where half of the lines are another's, whoever proves is not the one of all.
    output.write_bytes(before.replace(b"scripted@1", b"larger@7", 1))
    assert "was scored by larger@7" in str(RUN.invoke(app, words).exception)
    output.write_bytes(before)
    monkeypatch.undo()
    # Of these, no model is there: the name alone is another.
    for flags in (["--model", "some/model"], ["--engine", "openai", "--model", "other"]):
        refused = RUN.invoke(app, [*words, *flags])
        assert f"was scored by scripted@1, and the prover is {flags[-1]}: use" in str(refused.exception)
    assert output.read_bytes() == before


def test_a_finished_file_is_not_said_to_be_of_another_server(tmp_path: Path) -> None:
    source, output = write(tmp_path / "in.jsonl", TRACE), tmp_path / "out.jsonl"
    with threaded_server() as url:
        words = ["score", str(source), "-o", str(output), "--url", url]
        assert RUN.invoke(app, words).exit_code == 0
        assert "1 already there" in RUN.invoke(app, words).output
        output.write_bytes(output.read_bytes().replace(b"scripted@1", b"larger@7"))
        assert "was scored by larger@7, and the prover is scripted@1" in str(RUN.invoke(app, words).exception)


def test_a_prover_that_is_named_beside_a_server_is_said_to_be_unused(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", TRACE)
    with threaded_server() as url:
        words = ["score", str(source), "-o", str(tmp_path / "out.jsonl"), "--url", url]
        assert "unused" not in RUN.invoke(app, words).output
        found = RUN.invoke(app, [*words, "--overwrite", "--model", "other", "--grader", "exact"])
    assert found.exit_code == 0
    assert "a prover and graders of its own: unused here are graders, model" in found.output


def test_an_endpoint_goes_on_with_a_file_once_it_has_said_who_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Endpoint(ScriptedProver):
        def __init__(self) -> None:
            super().__init__(VALUES)
            self.version = "unknown"

        async def check(self) -> None:
            self.version = "1"

    monkeypatch.setattr(verb, "build_scorer", lambda _: Scorer(Endpoint(), {"word": WordGrader()}, speller))
    rows = [{**TRACE, "id": name, "problem": name} for name in "ab"]
    source, output = write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
    words = ["score", str(source), "-o", str(output), "--engine", "openai"]
    assert RUN.invoke(app, words).exit_code == 0
    output.write_text(output.read_text().splitlines()[0].replace("scripted@unknown", "scripted@1") + "\n")
    done = RUN.invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "1 ok, 0 partial, 0 failed, 1 already there" in done.output


def test_the_first_failure_is_the_first_of_the_input(tmp_path: Path, prover: ScriptedProver) -> None:
    poisoned = {**TRACE, "id": "poisoned", "completion": "poison</think>"}
    source = write(tmp_path / "in.jsonl", TRACE, poisoned, "{not json", "[1]")
    done = RUN.invoke(app, ["score", str(source)])
    assert "first failure: poisoned: " in done.output
    assert "failed by code: prover_failed 1, invalid_json 2" in done.output


@pytest.mark.parametrize(("num", "mapped"), [(4, False), (5, False), (5, True)])
def test_where_nothing_is_right_the_column_of_answers_is_doubted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num: int, *, mapped: bool
) -> None:
    hopeless = ScriptedProver(lambda text, _: 0.005)
    monkeypatch.setattr(verb, "build_scorer", lambda _: Scorer(hopeless, {"word": WordGrader()}, speller))
    gold = {"src": "me"} if mapped else {"answer": "me"}
    rows = [{**TRACE, "id": str(index), "problem": str(index), "answer": None, **gold} for index in range(num)]
    if mapped:
        rows = [{name: value for name, value in row.items() if name != "answer"} for row in rows]
    source = write(tmp_path / "in.jsonl", *rows)
    done = RUN.invoke(app, ["score", str(source), *(["--map", "answer=src"] if mapped else [])])
    assert done.exit_code == 0, done.output
    column = "`src` (--map answer)" if mapped else "`answer`"
    line = f"no trace is right and no value moves: is {column} the right column? the first one is 'me'\n"
    assert done.output.endswith(line) is (num == 5)


def test_the_end_says_what_the_values_come_to(tmp_path: Path, prover: ScriptedProver) -> None:
    source = write(tmp_path / "in.jsonl", {**TRACE, "id": "a"}, {**TRACE, "id": "b"})
    output = RUN.invoke(app, ["score", str(source)]).output
    assert f"mean of 2 traces: {VALUES[0]:.3f} without thinking → {VALUES[-1]:.3f} after all of it" in output
    assert "of 6 episodes have |progress| < 0.02" in output
    assert "outcome: 1.000, mean of 2 traces" in output
    again = RUN.invoke(app, ["score", str(source)]).output
    assert "0 ok, 0 partial, 0 failed, 2 already there" in again
    assert "mean of 2 traces" in again


def test_what_cannot_be_used_is_refused_before_an_engine_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(settings: ServeSettings) -> Scorer:
        raise AssertionError(settings)

    monkeypatch.setattr(verb, "build_scorer", build)
    cases: list[tuple[list[object], list[str], str]] = [
        ([], [], "holds no row"),
        ([{"question": "q", "response": "r"}], [], "--map problem=question --map completion=response"),
        ([{"problem": "q", "completion": "c"}], [], "no row has an `answer`"),
        ([TRACE], ["-o", str(tmp_path / "nowhere" / "out.jsonl")], "cannot be written"),
    ]
    for rows, flags, message in cases:
        refused = RUN.invoke(app, ["score", str(write(tmp_path / "in.jsonl", *rows)), *flags])
        assert isinstance(refused.exception, ConfigError)
        assert message in str(refused.exception)


def test_columns_of_other_names_are_mapped(tmp_path: Path, prover: ScriptedProver) -> None:
    renamed = {"question": TRACE["problem"], "response": TRACE["completion"], "label": 42}
    source = write(tmp_path / "in.jsonl", renamed)
    flags = ["--map", "problem=question", "--map", "completion=response", "--map", "answer=label"]
    assert RUN.invoke(app, ["score", str(source), *flags]).exit_code == 0
    [row] = read(tmp_path / "in.scored.jsonl")
    assert (row["trace"]["problem"], row["trace"]["answer"]) == (TRACE["problem"], ["42"])


def test_an_engine_that_is_gone_ends_the_run_and_what_is_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            if self.proofs:
                raise ProverUnavailable("the engine died")
            return await super().prove(proof)

    dying = Dying(VALUES)
    monkeypatch.setattr(verb, "build_scorer", lambda _: Scorer(dying, {"word": WordGrader()}, speller))
    monkeypatch.setattr(verb, "CHUNK", 1)
    source = write(tmp_path / "in.jsonl", *({**TRACE, "id": name, "problem": name} for name in "abc"))
    done = RUN.invoke(app, ["score", str(source)])
    assert isinstance(done.exception, ProverUnavailable)
    assert "keeps 1 scored traces; the same command goes on after them" in done.output
    assert [row["id"] for row in read(tmp_path / "in.scored.jsonl")] == ["a"]


def test_traces_that_do_not_think_are_said_while_there_is_time(tmp_path: Path, prover: ScriptedProver) -> None:
    rows = [{"prompt": f"{index}?", "completion": "42", "answer": "42"} for index in range(12)]
    done = RUN.invoke(app, ["score", str(write(tmp_path / "in.jsonl", *rows))])
    assert done.exit_code == 1
    assert done.output.count("none of the first 8 traces thinks") == 1
    rows[7] = {**TRACE, "problem": "it thinks"}
    done = RUN.invoke(app, ["score", str(write(tmp_path / "in.jsonl", *rows)), "--overwrite"])
    assert "none of the first" not in done.output
