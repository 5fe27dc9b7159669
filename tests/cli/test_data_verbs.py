"""`star`, `pairs`, `prefixes`, `backtracks`, `curriculum` and `compare-provers`, from file to file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from mrt_reward.cli import compare_provers, line_up, pooling
from mrt_reward.cli.app import app
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError, ProverError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import PathPrior
from mrt_reward.protocols import Proof, Proven, Prover, RolloutQuery
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.service.scorer import Scorer
from tests.evaluation.datasets.made import line, read, scored, write
from tests.service.conftest import WordGrader, speller

RUN = CliRunner()
A, B, C = "First.\n\na.\n\nb.\n\n", "Wait, good.\n\nc.\n\nd.\n\n", "Wait, bad.\n\ne.\n\nf.\n\n"
TOKENIZER = ["--tokenizer", str(MODEL_DIR)]
OPENED = "<|im_start|>user\n6 times 7?<|im_end|>\n<|im_start|>assistant\n<think>\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A right trace, a wrong one that begins alike, one that failed, one with a control token, half a line."""
    right = line(scored("right", [A, B, C], [0.2, 0.5, 0.9, 0.9]))
    wrong = line(scored("wrong", [A, C], [0.2, 0.5, 0.1], outcome=0.0))
    failed = {**right, "id": "failed", "status": "error", "error": {"message": "m", "type": "t", "code": "no_thinking"}}
    hostile = line(scored("hostile", ["Wait<|im_end|>\n\n"], [0.2, 1.0]))
    path = write(tmp_path / "s.jsonl", right, wrong, failed, hostile)
    path.write_text(path.read_text() + '{"id": "half')
    return path


def run(*words: object, code: int = 0) -> str:
    done = RUN.invoke(app, [str(word) for word in words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def refused(*words: object) -> str:
    done = RUN.invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, ConfigError), done.output
    return str(done.exception)


def test_star_writes_chats_and_says_what_it_kept_and_why(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "star.jsonl"
    output = run("star", file, "-o", out, *TOKENIZER)
    assert "1 of 4 traces kept, of 1 of 1 problems" in output
    assert "1 lines skipped: cut short" in output
    [row] = read(out)
    assert row["messages"] == [
        {"role": "user", "content": "6 times 7?"},
        {"role": "assistant", "content": f"<think>\n{A}{B}</think>\n\nThe final answer is \\boxed{{42}}"},
    ]
    stats = json.loads((tmp_path / "new" / "star.jsonl.stats.json").read_text())
    assert stats["fates"] == {
        "kept, cut where its value reached its top": 1,
        "another trace of the problem made more progress": 1,
        "no thinking": 1,
        "its text holds a control token, which a trainer's tokenizer would obey": 1,
    }
    assert (stats["traces"], stats["prover"], stats["settings"]["select"]) == (4, "m@1", "progress")
    text = run("star", file, "-o", out, "--format", "text", *TOKENIZER)
    assert "1 of 4" in text
    assert read(out)[0]["prompt"] == OPENED
    run("star", file, "-o", out, "--select", "outcome")
    assert [row["mrt_episodes_kept"] for row in read(out)] == [3]


def test_star_that_keeps_nothing_says_so_and_rendered_prompts_are_no_chats(file: Path, tmp_path: Path) -> None:
    assert "nothing was kept" in run("star", file, "-o", tmp_path / "o.jsonl", "--min-value", 1, *TOKENIZER, code=1)
    prompted = write(tmp_path / "p.jsonl", line(scored("p", [A], [0.2, 1.0], problem=None, prompt="Q ")))
    assert "--format text" in refused("star", prompted, "-o", tmp_path / "o.jsonl")
    run("star", prompted, "-o", tmp_path / "o.jsonl", "--format", "text")
    assert read(tmp_path / "o.jsonl")[0]["prompt"] == "Q <think>\n"


def test_a_template_that_drops_thinking_makes_no_chats(file: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL_DIR, model, ignore=shutil.ignore_patterns("*.safetensors"))
    settings = json.loads((model / "tokenizer_config.json").read_text())
    # As the R1 distillates have it.
    said = "{{ (message['content'] if message['role'] == 'user' else message['content'].split('</think>')[-1]) }}"
    settings["chat_template"] = f"{{% for message in messages %}}{said}{{% endfor %}}"
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    given = ["star", file, "-o", tmp_path / "o.jsonl", "--tokenizer", model]
    assert "drops thinking" in refused(*given)
    assert not (tmp_path / "o.jsonl").exists()
    run(*given, "--format", "text")


def test_a_folder_that_cannot_be_written_is_named_and_nothing_is_left_behind(file: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert "taken/o.jsonl cannot be written" in refused("star", file, "-o", tmp_path / "taken" / "o.jsonl")
    # A run that fails half way leaves the old file as it was.
    out = write(tmp_path / "o.jsonl", {"old": 1})
    assert "--tokenizer" in refused("pairs", file, "-o", out)
    assert read(out) == [{"old": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.jsonl", "s.jsonl", "taken"]


def test_pairs_are_written_as_dpo_trainers_read_them(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    assert "1 pairs" in run("pairs", file, "-o", out, *TOKENIZER)
    [row] = read(out)
    assert [row[name][0]["content"] for name in ("prompt", "chosen", "rejected")] == [OPENED + A, B, C]
    run("pairs", file, "-o", out, "--format", "text", *TOKENIZER)
    [row] = read(out)
    assert (row["prompt"], row["chosen"], row["rejected"]) == (OPENED + A, B, C)
    assert json.loads((tmp_path / "pairs.jsonl.stats.json").read_text())["mean_margin"] == pytest.approx(0.8)
    assert "no pairs: sample" in run("pairs", file, "-o", out, "--min-margin", 0.9, *TOKENIZER, code=1)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedProver:
    """Stands in for the engine that samples and scores."""
    said = "}.\n\nb.\n\nc.\n\nWait, again.\n\nd.\n</think>\n\nThe answer is 42 "
    prover = ScriptedProver(lambda text, _: 0.75 if "boxed" in text else 0.25, answer=said, wrong=said)

    def build(settings: ServeSettings, given: Prover | None = None) -> Scorer:
        del settings
        return Scorer(given or prover, {"word": WordGrader()}, speller)

    monkeypatch.setattr(pooling, "build_prover", lambda _: prover)
    monkeypatch.setattr(pooling, "build_scorer", build)
    monkeypatch.setattr(compare_provers, "build_scorer", build)
    monkeypatch.setattr(line_up, "build_scorer", build)
    return prover


def test_where_no_step_shares_the_prefix_alternatives_are_sampled(tmp_path: Path, engine: ScriptedProver) -> None:
    lone = line(scored("lone", [A, C], [0.2, 0.5, 0.1], outcome=0.0))
    file, out = write(tmp_path / "l.jsonl", lone), tmp_path / "pairs.jsonl"
    output = run("pairs", file, "-o", out, "--sample", 2, *TOKENIZER)
    assert "alternatives scored" in output
    [row] = read(out)
    assert row["chosen"][0]["content"].startswith("The answer is \\boxed{}.")
    assert (row["mrt_chosen_value"], row["mrt_episode"]) == (pytest.approx(0.75), 1)
    engine.version = "2"
    assert "scored by m@1, and the engine is scripted@2" in refused("pairs", file, "-o", out, "--sample", 2, *TOKENIZER)


def test_prefixes_are_written_for_each_trainer(file: Path, tmp_path: Path) -> None:
    flags = ["--min-episodes", 1, "--per-trace", 9, *TOKENIZER]
    output = run("prefixes", file, "-o", tmp_path / "train.parquet", *flags)
    assert "6 rows of 3 prefixes" in output
    rows: list[dict[str, Any]] = parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert [row["mrt_stop"] for row in rows] == [True, False] * 3
    assert rows[1]["prompt"] == [{"role": "user", "content": OPENED + A}]
    assert rows[0]["prompt"][0]["content"] == f"{OPENED}{A}</think>\n\n"
    run("prefixes", file, "-o", tmp_path / "train.jsonl", *flags)
    plain = read(tmp_path / "train.jsonl")
    assert [row["mrt_group"] for row in plain] == [row["mrt_group"] for row in rows]
    assert plain[0]["label"] == {"label": "42", **{name: rows[0][name] for name in rows[0] if name.startswith("mrt_")}}
    upside_down = ["--min-value", 0.9, "--max-value", 0.1]
    output = refused("prefixes", file, "-o", tmp_path / "train.jsonl", *flags, *upside_down)
    assert "min_value must be at most max_value" in output
    assert ".parquet or .jsonl" in refused("prefixes", file, "-o", tmp_path / "train.csv", *flags)
    assert "no prefixes" in run("prefixes", file, "-o", tmp_path / "n.jsonl", "--min-value", 0.99, *TOKENIZER, code=1)


def test_backtracks_go_from_wrong_attempts_to_right_ends(tmp_path: Path, engine: ScriptedProver) -> None:
    bare = json.dumps({"delimiters": {"open": "", "close": ""}, "segmenter": {"kind": "paragraphs"}})
    right = line(scored("right", [A, B], [0.4, 0.7, 1.0], ending="", prompt="Q: ", problem=None))
    wrong = line(scored("wrong", [A, C], [0.4, 0.7, 0.0], outcome=0.0, ending="", prompt="Q: ", problem=None))
    out = tmp_path / "b.jsonl"
    run("backtracks", write(tmp_path / "s.jsonl", right, wrong), "-o", out, "--options", bare)
    [row] = read(out)
    assert (row["prompt"], row["completion"]) == (f"Q: {A}{C}", f"This seems off. Let's backtrack to step 1.\n\n{B}")
    alone = write(tmp_path / "w.jsonl", wrong)
    assert "no rows" in run("backtracks", alone, "-o", out, "--options", bare, code=1)
    assert "taken over by a sampled continuation" in run(
        "backtracks", alone, "-o", out, "--options", bare, "--sample", 2
    )
    assert read(out)[0]["mrt_source"] == "sampled"
    assert "delimiters set to ''" in refused("backtracks", alone, "-o", out)
    assert "{step}" in refused("backtracks", alone, "-o", out, "--options", bare, "--statement", "Back.")


def test_a_schedule_is_written_with_the_problems_that_teach(tmp_path: Path) -> None:
    traces = [
        scored(
            f"{number}{sign}",
            [A, B],
            [0.2, 1.0, 1.0],
            problem=f"Q{number}",
            outcome=float(sign == "+"),
            group=f"g{number}",
        )
        for number in range(4)
        for sign in "+-"
    ]
    file, out = write(tmp_path / "s.jsonl", *map(line, traces)), tmp_path / "round.json"
    output = run(
        "curriculum",
        file,
        "-o",
        out,
        "--problems",
        tmp_path / "next.jsonl",
        "--granularity",
        len(A),
        "--answer-tokens",
        0,
    )
    assert f"round 1: {len(A)} tokens, 4 problems" in output
    schedule = json.loads(out.read_text())
    assert (schedule["budget_tokens"], schedule["advice"]) == (len(A), "settled")
    assert schedule["problems"]["learnable"] == ["g0", "g1", "g2", "g3"]
    assert read(tmp_path / "next.jsonl")[0] == {"group": "g0", "problem": "Q0", "answer": ["42"]}
    assert "low_rate" in refused("curriculum", file, "-o", out, "--low-rate", 0.9, "--high-rate", 0.1)


def test_estimators_are_compared_on_traces_that_nobody_scored(
    file: Path, tmp_path: Path, engine: ScriptedProver
) -> None:
    pytest.importorskip("matplotlib")
    traces = [
        {"id": f"{n}", "problem": f"{n}?", "answer": "42", "completion": f"<think>\n{A}{B}</think>\n\n\\boxed{{42}}"}
        for n in range(3)
    ]
    raw, out, figure = write(tmp_path / "t.jsonl", *traces), tmp_path / "e.json", tmp_path / "e.svg"
    output = run("compare-provers", raw, "-o", out, "--estimators", "--answers", 4, "--answers", 8, "--figure", figure)
    assert "error against likelihood" in output
    record = json.loads(out.read_text())
    assert (record["reference"], record["traces"]) == ("likelihood", 3)
    names = [each["name"] for each in record["errors"]]
    assert [name for name in names if "posterior" not in name] == ["plain 4", "coupled 4", "plain 8", "coupled 8"]
    assert all(each["progress"]["value"] is not None for each in record["errors"])
    assert "answer tokens a trace" in figure.read_text()
    # Traces that were scored before are scored again; those that cannot be are left out and counted.
    lone = write(tmp_path / "l.jsonl", *traces, {**traces[0], "id": "no gold", "answer": None}, {"id": "none"})
    output = run("compare-provers", lone, file, "-o", out, "--estimators", "--answers", 4, "--reference", "plain 16")
    assert "1 of 7 traces were left out" in output
    assert "1 lines were skipped, the first: line 5, " in output
    record = json.loads(out.read_text())
    assert (record["reference"], record["traces"]) == ("plain 16", 6)
    assert "likelihood" in [each["name"] for each in record["errors"]]
    for words, what in (
        (["--answers", 4, "--answers", 4], "each once"),
        (["--reference", "as scored"], "such as 'coupled 128'"),
        (["--figure", tmp_path / "e.pdf"], "ends in .svg or .png"),
        (["--prover", 'x={"options": {}}'], "those of one prover"),
    ):
        assert what in refused("compare-provers", raw, "-o", out, "--estimators", *words)
    with_others = write(
        tmp_path / "o.jsonl", *({"src": t["problem"], "cot": t["completion"], "gold": 42} for t in traces)
    )
    flags = ["--map", "problem=src", "--map", "completion=cot", "--map", "answer=gold"]
    run("compare-provers", with_others, "-o", out, "--estimators", "--answers", 4, *flags)
    assert json.loads(out.read_text())["traces"] == 3
    assert "found src, cot, gold: did you mean --map answer=gold?" in refused(
        "compare-provers", with_others, "-o", out, "--estimators"
    )
    assert "no row has an `answer`" in refused("compare-provers", with_others, "-o", out, "--estimators", *flags[:4])
    assert "goes with --estimators" in refused("compare-provers", file, "-o", out, *flags)
    empty = write(tmp_path / "empty.jsonl")
    assert "got none" in refused("compare-provers", empty, "-o", out, "--estimators")


def test_an_estimator_that_the_engine_cannot_do_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Uncoupled(ScriptedProver):
        async def prove(self, proof: Proof) -> Proven:
            if isinstance(proof.query, RolloutQuery) and proof.query.coupled:
                raise ProverError("it cannot couple", code="unsupported_query")
            return await super().prove(proof)

    prover = Uncoupled(lambda text, _: 0.75 if "boxed" in text else 0.25)
    monkeypatch.setattr(line_up, "build_scorer", lambda _: Scorer(prover, {"word": WordGrader()}, speller))
    completion = f"<think>\n{A}{B}</think>\n\n\\boxed{{42}}"
    raw = write(tmp_path / "t.jsonl", {"id": "1", "problem": "?", "answer": "42", "completion": completion})
    words = ["compare-provers", raw, "-o", tmp_path / "e.json", "--estimators", "--answers", 4]
    words += ["--engine", "openai", "--engine-url", "http://127.0.0.1:9", "--tokenizer", "folder"]
    assert "coupled 4 is left out, because it scored no trace: it cannot couple" in run(*words)
    names = [each["name"] for each in json.loads((tmp_path / "e.json").read_text())["errors"]]
    assert [name for name in names if "posterior" not in name] == ["plain 4"]
    assert "coupled 8 scored no trace" in refused(*words, "--reference", "coupled 8")


def test_provers_are_compared_on_the_same_traces(file: Path, tmp_path: Path, engine: ScriptedProver) -> None:
    out = tmp_path / "c.json"
    other = tmp_path / "other.jsonl"
    rows = [
        line(replace(scored("right", [A, B, C], [0.2, 0.5, 0.6, 0.7]))),
        line(scored("wrong", [A, C], [0.2, 0.5, 0.4], outcome=0.0)),
    ]
    write(other, *rows)
    output = run("compare-provers", file, "-o", out, "--also", f"other={other}", "--name", "mine")
    assert "agreement, mine ~ other" in output
    assert "recommended: mine" in output
    for word in ("distinguishes", "aligns", "sum", "values about 0 / about 1", "not measured, not asked"):
        assert f"\n{word}: " in output
    record = json.loads(out.read_text())
    assert [each["name"] for each in record["provers"]] == ["mine", "other"]
    # After the two steps from A: 0.9 and 0.1 have variance 0.32; 0.6 and 0.4 have 0.02. The first step has no choice.
    assert [each["distinguishes"]["value"] for each in record["provers"]] == pytest.approx([0.16, 0.01])
    assert "bound_R" not in record["provers"][0]
    assert "errors" not in record
    output = run("compare-provers", file, "-o", out, "--also", f"other={other}", "--reference", "as scored")
    assert "error against as scored" in output
    [error] = json.loads(out.read_text())["errors"]
    assert (error["name"], error["answer_tokens"]) == ("other", 0)
    assert error["progress"]["value"] > 0
    output = run("compare-provers", file, "-o", out, "--prover", 'again={"options": {}}', "--policy-samples", 2)
    assert json.loads(out.read_text())["policy_advantage"] == "2 continuations a prefix"
    assert "understated" in output
    assert json.loads(out.read_text())["provers"][1]["seconds"] > 0
    # One problem: it is asked about, and tells too little to warn.
    claims = [each["claims"] for each in json.loads(out.read_text())["provers"]]
    assert claims[0] is None
    assert (claims[1]["guessed"]["problems"], claims[1]["guessed"]["value"]) == (1, pytest.approx(0))
    assert "claims: a guess earns" in output
    run("compare-provers", file, "-o", out, "--prover", 'again={"options": {}}', "--claims", 0)
    assert json.loads(out.read_text())["provers"][1]["claims"] is None
    sampled = 'sampled={"options": {"estimator": {"kind": "rollouts", "num_samples": 4, "coupled": false}}}'
    output = run("compare-provers", file, "-o", out, "--prover", sampled, "--reference", "as scored", "--fit-prior")
    assert "prior fitted to sampled: {" in output
    record = json.loads(out.read_text())
    assert [each["name"] for each in record["errors"]] == ["sampled", "sampled, posterior"]
    assert list(record["priors"]) == ["sampled"]
    assert PathPrior(**record["priors"]["sampled"]).coupling == PathPrior().coupling
    for words, what in (
        (["--prover", "x"], "NAME=JSON"),
        (["--prover", "x=[1]"], "a JSON object"),
        (["--prover", 'x={"modle": 1}'], "modle"),
        (["--also", "x=nowhere"], "a file that is there"),
        (["--reference", "x"], "one of as scored"),
        (["--also", f"as scored={other}"], "twice"),
        (["--also", f"o={write(tmp_path / 'z.jsonl', line(scored('z', [A], [0.1, 1.0])))}"], "cut at the same offsets"),
    ):
        assert what in refused("compare-provers", file, "-o", out, *words)
