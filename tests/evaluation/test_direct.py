from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrt_reward.errors import ConfigError, ProverUnavailable, TraceError
from mrt_reward.evaluation.direct import DirectSpec, direct_prompt
from mrt_reward.evaluation.direct_run import DirectRun
from mrt_reward.evaluation.folder import RESULTS, Folder
from mrt_reward.evaluation.measures import Lens
from mrt_reward.evaluation.pool import read_pool
from mrt_reward.evaluation.report import ReportSpec, make_report, read_report
from mrt_reward.evaluation.run import RunCounts
from mrt_reward.evaluation.traces import Results
from mrt_reward.options import Rollouts
from mrt_reward.provers.scripted import ScriptedProver, ScriptedTokenizer
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import Trace
from tests.evaluation.conftest import CountingProver, InputRow, given, problem, run
from tests.evaluation.lines import line, write
from tests.service.conftest import WordGrader, speller

SPEC = DirectSpec(Rollouts("rollouts", num_samples=4, max_tokens=40, keep_answers=True))


async def answered(
    path: Path, rows: list[InputRow], prover: ScriptedProver, spec: DirectSpec = SPEC, reported: list[int] | None = None
) -> RunCounts:
    with Folder(path) as folder:
        direct = DirectRun(folder, "plain", rows)
        scorer = Scorer(prover, {"word": WordGrader()}, speller)
        try:
            return await direct(scorer, spec, lambda: (reported if reported is not None else []).append(1))
        finally:
            direct.close()
            await scorer.close()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (path / RESULTS).read_text().splitlines()]


async def test_problems_are_answered_behind_a_closed_thinking_block(tmp_path: Path) -> None:
    prover = CountingProver()
    reported: list[int] = []
    rows = [problem("a"), given("t/0", "one</think> 42"), given("t/1", "two</think> 42")]
    counts = await answered(tmp_path, rows, prover, reported=reported)
    assert (counts.scored, counts.failed, counts.already, len(reported)) == (
        2,
        0,
        0,
        2,
    )  # both traces are of one problem
    results = {result.problem: result for result in Results([tmp_path / RESULTS])}
    first = results["a"]
    assert (first.model, first.scored.id, first.is_direct, first.scored.episodes) == ("plain", "a/direct", True, ())
    [value] = first.scored.values
    assert value.answers is not None
    assert (value.value, [answer.text for answer in value.answers]) == (0.5, ["42", "42", "7", "7"])
    # An answer of the script has 24 tokens, and 40 are allowed.
    assert first.evaluation is not None
    assert first.evaluation.direct is not None
    assert (first.evaluation.direct.truncated, first.evaluation.direct.thought) == (0, 0)
    asked = prover.proofs[0]
    ids = np.append(asked.token_ids, asked.probes[0].suffix).astype(np.int32)
    text = "<|im_start|>user\nQuestion a?<|im_end|>\n<|im_start|>assistant\n<think>\n</think>\n\n"
    assert ScriptedTokenizer().locate(ids)[0] == text
    assert first.scored.prefix_tokens == (len(ids),)


def test_an_empty_block_is_put_where_the_template_opens_none() -> None:
    tokenizer = ScriptedTokenizer()
    asked = Trace("a", prompt="Q?")

    def text(spec: DirectSpec, prompt: str = "Q?") -> str:
        return tokenizer.locate(direct_prompt(replace(asked, prompt=prompt), tokenizer, spec))[0]

    assert text(SPEC) == "Q?"
    closed = replace(SPEC, closed=True)
    assert text(closed) == "Q?<think>\n\n</think>\n\n"
    assert text(closed, "Q?<think>\n\n</think>\n\n") == "Q?<think>\n\n</think>\n\n"  # as a template may insert it
    assert text(closed, "Q?<think>\n") == "Q?<think>\n</think>\n\n"


@pytest.mark.parametrize("calls", [0, 1, 2])
async def test_direct_answers_go_on_where_they_were_stopped(tmp_path: Path, calls: int) -> None:
    rows = [problem("a"), problem("b"), problem("c")]
    await answered(tmp_path / "whole", rows, CountingProver())
    with pytest.raises(ProverUnavailable):
        await answered(tmp_path / "cut", rows, CountingProver(calls_left=calls))
    assert len(lines(tmp_path / "cut")) == calls
    second = CountingProver()
    counts = await answered(tmp_path / "cut", rows, second)
    assert (counts.scored, counts.already, second.num_calls) == (3 - calls, calls, 3 - calls)
    done, expected = (sorted(lines(tmp_path / name), key=lambda each: each["id"]) for name in ("cut", "whole"))
    assert done == expected


async def test_traces_and_direct_answers_share_a_file_and_keep_each_others_failures(tmp_path: Path) -> None:
    unanswered = InputRow("no answer", Trace("no answer", problem="Q?"))
    unreadable = InputRow("line-3", None, error=TraceError("line 3 is not JSON", code="invalid_json"))
    rows = [problem("a"), unanswered, unreadable]
    await run(tmp_path, rows, CountingProver())
    counts = await answered(tmp_path, rows, CountingProver())
    assert (counts.scored, counts.failed, counts.first_failure[:19]) == (1, 1, "no answer/direct: g")
    results = Results([tmp_path / RESULTS])
    assert sum(1 for _ in results) == 4
    assert (results.notes.read, results.notes.direct, results.notes.models) == (3, 1, Counter(m=3))
    assert results.notes.failed == {"no_answer": 1, "invalid_json": 1, "invalid_trace": 1}
    # Gone on with, each does again what failed of its own, and leaves the other's failure where it is.
    fixed = [problem("a"), InputRow("no answer", Trace("no answer", problem="Q?", answer=("42",))), unreadable]
    assert (await run(tmp_path, fixed, CountingProver())).already == 3
    assert sum(1 for _ in results) == 7
    assert results.notes.failed == {"invalid_json": 1, "invalid_trace": 1}
    assert (await answered(tmp_path, fixed, CountingProver())).already == 1
    assert sum(1 for _ in results) == 8
    assert results.notes.failed == {"invalid_json": 1}
    # Data are made of traces alone.
    assert len(read_pool([tmp_path / RESULTS]).traces) == 6


async def test_what_cannot_be_answered_is_no_number(tmp_path: Path) -> None:
    full = await answered(tmp_path / "full", [problem("a")], ScriptedProver([0.5], max_tokens=20))
    assert (full.scored, full.failed) == (0, 1)
    assert lines(tmp_path / "full")[0]["error"]["code"] == "context_length_exceeded"
    with pytest.raises(ConfigError, match="unknown grader 'other'"):
        await answered(tmp_path, [problem("a")], CountingProver(), replace(SPEC, grader="other"))
    # Answers are cut at 10 tokens, before they say anything: misses, and counted.
    cut = DirectSpec(Rollouts("rollouts", num_samples=4, max_tokens=10, keep_answers=True))
    await answered(tmp_path / "cut", [problem("a")], CountingProver(), cut)
    reported = lines(tmp_path / "cut")[0]
    assert reported["evaluation"]["direct"] == {"truncated": 4, "thought": 0}
    thinking = ScriptedProver([0.5], answer="<think>42</think>", wrong="7")
    await answered(tmp_path / "thought", [problem("a")], thinking)
    assert lines(tmp_path / "thought")[0]["evaluation"]["direct"] == {"truncated": 0, "thought": 2}
    await answered(tmp_path / "lost", [problem("a")], ScriptedProver([1.0], answer=" ungraded "))
    assert lines(tmp_path / "lost")[0]["error"]["message"] == "none of 4 direct answers could be judged"


def direct_line(name: str, verdicts: str, tokens: int = 5, prompt: int = 10) -> dict[str, Any]:
    """Answers of one problem: `r` right, `w` wrong and all alike, `u` ungraded."""
    names = {"r": "correct", "w": "incorrect", "u": "ungraded"}
    graded = [each for each in verdicts if each != "u"]
    reported = line(f"{name}/direct", [graded.count("r") / len(graded)], tokens=[prompt], model="plain", problem=name)
    reported["evaluation"]["direct"] = {"truncated": 1, "thought": 0}
    reported["values"][0] |= {
        "answers": [{"text": each, "verdict": names[each], "tokens": tokens} for each in verdicts],
        "answer_tokens": tokens,
        "unparsed": 0,
        "ungraded": verdicts.count("u"),
    }
    return reported


def test_votes_and_what_thinking_gains_over_them_worked_by_hand(tmp_path: Path) -> None:
    rows = [
        # Points of thinking: x = 12 and 16.
        line("a/0", [0.0, 1.0], model="m", problem="a"),
        line("b/0", [0.0, 0.5], model="m", problem="b"),
        direct_line("a", "rrrw"),
        direct_line("b", "rwwu"),
        direct_line("c", "rrrr"),  # of no trace
    ]
    path = write(tmp_path / "r.jsonl", *rows)
    report = read_report([path], ReportSpec(Lens((20.0,), (1, 2)), budgets=(20.0,)))
    [direct], [gained], votes = report.summary.direct, report.summary.gains, report.summary.direct[0].curves["votes"]
    # maj@1: 3/4, 1/3, 1. maj@2 ties where the pair differs: the same. maj@4 of a: always right; b has but three votes.
    assert (direct.name, direct.problems, direct.traces) == ("plain, direct", 3, 12)
    assert report.summary.direct_sizes[: len(votes.points)] == (1, 2, 4)
    assert [point.value for point in votes.points] == pytest.approx([25 / 36, 25 / 36, 1.0], abs=1e-9)
    assert [(point.problems, point.traces) for point in votes.points] == [(3, 12), (3, 12), (2, 8)]
    assert votes.x == (15.0, 20.0, 30.0)
    caveats = report.caveats["plain, direct"]
    assert (caveats.answers, caveats.cut_off, caveats.ungraded) == (12, 3, 1)
    # Of all that the votes can buy, and of the tokens that they need: as of a model that thinks.
    assert direct.metrics["accuracy@20"].value == pytest.approx(25 / 36, abs=1e-9)
    # From 20 to 30 tokens a rises from 3/4 to 1: (3/4 + (x - 20)/40 + 1/3 + 1)/3 = 0.7.
    assert direct.metrics["tokens_to@0.7"].value == pytest.approx(20 + 2 / 3, abs=0.01)
    # At 20 tokens: thinking has 1 and 1/2, the votes of two answers 3/4 and 1/3; c has no thinking.
    at = gained.metrics["accuracy@20"]
    assert (at.value, at.problems, at.traces) == (pytest.approx((1 / 4 + 1 / 6) / 2, abs=1e-9), 2, 2 + 8)
    assert (at.low, at.high) == pytest.approx((1 / 6, 1 / 4), abs=1e-9)
    assert (gained.second, gained.first, set(gained.curves)) == ("m", "plain, direct", {"accuracy"})
    assert report.summary.models[0].problems == 2


def test_the_report_tells_direct_answers(tmp_path: Path) -> None:
    rows = [line(f"{index}/0", [0.0, index / 4], model="m|x", problem=str(index)) for index in range(4)]
    rows += [direct_line(str(index), "rrww") for index in range(4)]
    written = make_report([write(tmp_path / "r.jsonl", *rows)], tmp_path, ReportSpec(figures=True))
    record = json.loads((tmp_path / "summary.json").read_text())
    assert record["direct"][0]["curves"]["votes"]["points"][0]["value"] == pytest.approx(0.5)
    gained = record["gains"][0]["metrics"]["accuracy@64"]
    assert gained["low"] < gained["high"]
    assert (record["notes"]["read"], record["notes"]["direct"]) == (4, 4)
    text = (tmp_path / "report.md").read_text()
    assert "| maj@4 | 0.500 [0.500, 0.500] at 30 tokens |" in text
    assert "m\\|x minus plain, direct" in text
    # The votes as a model of their own: what a budget buys, and what an accuracy costs.
    own = text[text.index("## Answering without thinking") : text.index("One answer after thinking minus")]
    assert "| Normalised regret to 64 tokens | " in own
    assert "| Tokens to reach 50% | " in own
    assert "- plain, direct: 16 answers, 4 were cut off." in text
    page = (tmp_path / "report.html").read_text()
    assert "Think, or vote without thinking?" in page
    assert "at 30 tokens" in page
    assert {"direct.svg", "direct.png"} <= {path.name for path in written}
