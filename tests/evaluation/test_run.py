from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mrt_reward.errors import ConfigError, ProverUnavailable, TraceError
from mrt_reward.evaluation.folder import RESULTS, TRACES
from mrt_reward.evaluation.forcing import ForcingSpec
from mrt_reward.evaluation.traces import Results
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.types import Trace
from tests.evaluation.conftest import SAMPLING, CountingProver, InputRow, given, problem, run


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_problems_are_sampled_and_scored(tmp_path: Path) -> None:
    reported: list[int] = []
    counts = await run(tmp_path, [problem("a"), problem("b")], CountingProver(), tell=reported.append)
    assert (counts.sampled, counts.scored, counts.failed, sum(reported)) == (6, 6, 0, 6)
    results = list(Results([tmp_path / RESULTS]))
    assert {result.scored.id for result in results} == {f"{name}/{index}" for name in "ab" for index in range(3)}
    assert {(result.model, result.problem) for result in results} == {("m", "a"), ("m", "b")}
    first = results[0]
    assert first.evaluation is not None
    # The script answers so, a token for each byte, and closes no thinking.
    assert first.completion in {"The answer is \\boxed{42}", "The answer is \\boxed{7}"}
    assert first.evaluation.sampled_tokens == len(first.completion)
    values = first.scored.values
    assert values[0].answers is not None
    assert [answer.text for answer in values[0].answers] == ["42", "42", "7", "7"]  # out of their boxes


async def test_given_traces_keep_what_their_columns_say(tmp_path: Path) -> None:
    extra = {"model": "other", "sampled_tokens": 9, "truncated": True, "colour": "red"}
    rows = [given("t", "one two</think> 42", extra=extra), given("u", "three</think> 7")]
    await run(tmp_path, rows, CountingProver())
    by_id = {result.scored.id: result for result in Results([tmp_path / RESULTS])}
    assert by_id["t"].model == "other"
    assert by_id["t"].extra == {"colour": "red"}
    assert by_id["t"].evaluation is not None
    assert (by_id["t"].evaluation.sampled_tokens, by_id["t"].evaluation.truncated) == (9, True)
    assert (by_id["u"].model, by_id["t"].problem) == ("m", by_id["u"].problem)
    assert not (tmp_path / TRACES).read_text()


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5, 6])
async def test_what_a_stop_leaves_is_neither_lost_nor_done_again(tmp_path: Path, calls: int) -> None:
    rows = [problem("a"), problem("b"), given("t", "one two</think> 42")]
    whole = CountingProver()
    await run(tmp_path / "whole", rows, whole)
    first = CountingProver(calls_left=calls)
    assert whole.num_calls == 7  # two problems sampled, seven traces scored, of which two are like another
    with pytest.raises(ProverUnavailable):
        await run(tmp_path / "cut", rows, first)
    num_sampled, num_scored = (len(lines(tmp_path / "cut" / name)) for name in (TRACES, RESULTS))
    assert num_sampled == min(3 * calls, 6)
    # The kill also cut a line in each file.
    for name in (TRACES, RESULTS):
        with (tmp_path / "cut" / name).open("a") as file:
            file.write('{"id": "a/9", "val')
    second = CountingProver()
    counts = await run(tmp_path / "cut", rows, second)
    for name in (TRACES, RESULTS):
        done = sorted(lines(tmp_path / "cut" / name), key=lambda line: line["id"])
        expected = sorted(lines(tmp_path / "whole" / name), key=lambda line: line["id"])
        for line in done + expected:
            line.pop("usage", None)  # what was cached is another matter
        assert done == expected
    assert counts.scored + counts.already == 7
    # Nothing that was written is asked again.
    assert counts.already == num_scored
    assert second.num_calls <= 2 - num_sampled // 3 + 7 - num_scored
    again = CountingProver()
    assert (await run(tmp_path / "cut", rows, again)).already == 7
    assert again.num_calls == 0


async def test_rows_that_cannot_be_evaluated_are_named_and_tried_again(tmp_path: Path) -> None:
    unanswered = InputRow("no answer", Trace("no answer", problem="Q?"))
    unreadable = InputRow("line-3", None, error=TraceError("line 3 is not JSON", code="invalid_json"))
    thoughtless = InputRow("direct", Trace("direct", prompt="Q?", completion="42", answer=("42",)))
    rows = [unanswered, unreadable, thoughtless, problem("a")]
    reported: list[int] = []
    prover = CountingProver()
    counts = await run(tmp_path, rows, prover, tell=reported.append)
    assert (counts.scored, counts.failed) == (3, 3)
    assert sum(reported) == 2 * SAMPLING.num_traces + 2
    results = Results([tmp_path / RESULTS])
    assert len(list(results)) == 3
    assert results.notes.failed == {"no_answer": 1, "invalid_json": 1, "no_thinking": 1}
    # Nothing was sampled for a problem that cannot be graded.
    assert {line["problem"] for line in lines(tmp_path / TRACES)} == {"Question a?"}
    # Answered at last, its failure is forgotten.
    fixed = InputRow("no answer", Trace("no answer", problem="Q?", answer=("42",)))
    counts = await run(tmp_path, [fixed, problem("a")], prover)
    assert (counts.scored, counts.failed, counts.already) == (3, 0, 3)
    assert {line["status"] for line in lines(tmp_path / RESULTS)} == {"ok"}


async def test_answers_in_rounds_are_no_evaluation(tmp_path: Path) -> None:
    options = ScoreOptions(estimator=Rollouts("rollouts", mean_samples=4))
    with pytest.raises(ConfigError, match="leave out mean_samples"):
        await run(tmp_path, [problem("a")], CountingProver(), options=options)


async def test_thinking_is_forced_on_and_valued_there(tmp_path: Path) -> None:
    forcing = ForcingSpec(3, SAMPLING, max_tokens=40)
    await run(tmp_path, [given("t", "one two\n\nthree</think> 42")], CountingProver(), forcing=forcing)
    [result] = Results([tmp_path / RESULTS])
    assert result.evaluation is not None
    extension = result.evaluation.extension
    assert extension is not None
    said = "The answer is \\boxed{7}"  # all that the script ever says when one answer is asked for
    assert extension.text == f"\n\nWait{said}\n\nBut wait{said}\n\nAlternatively{said}"
    assert extension.text[: extension.ends[0]].count("\n\n") == 2
    assert extension.ends[1] == len(extension.text)
    assert [value.value for value in extension.values] == [0.5, 0.5]
    assert extension.prefix_tokens[0] < extension.prefix_tokens[1]
    assert extension.prefix_tokens[0] > result.scored.prefix_tokens[-1]
