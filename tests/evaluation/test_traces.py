from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mrt_reward.evaluation.result import UNNAMED
from mrt_reward.evaluation.traces import Results, problem_id
from mrt_reward.types import Message, Status, Trace
from tests.evaluation.lines import line, write


def test_a_line_of_score_is_read_back_with_its_text(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", line("t", [0.25, 0.5, 1.0], extra={"colour": "red"}))
    [result] = Results([path])
    assert (result.model, result.problem, result.offset) == (UNNAMED, "p", 0)
    assert result.extra == {"colour": "red"}
    assert [result.text_until(j) for j in range(3)] == ["", "abcd", "abcdabcd"]
    assert result.scored.episodes[1].progress == 0.5
    assert result.scored.prefix_tokens == (10, 14, 18)


def test_a_line_of_evaluate_names_its_model_and_problem(tmp_path: Path) -> None:
    extension = {"text": "Wait", "ends": [4], "prefix_tokens": [30], "values": [json.loads(_value(0.5))]}
    reported = {"sampled_tokens": 9, "truncated": False, "extension": extension, "of a later version": 1}
    path = write(tmp_path / "r.jsonl", line("t", [0.5], model="m", problem="q", evaluation=reported, later=1))
    [result] = Results([path])
    assert (result.model, result.problem) == ("m", "q")
    assert result.evaluation is not None
    assert result.evaluation.extension is not None
    assert result.evaluation.extension.values[0].value == 0.5
    assert result.text_until(0) == ""


def _value(value: float) -> str:
    return json.dumps({"value": value, "stderr": 0.0, "low": value, "high": value})


def test_lines_that_are_cut_or_strange_are_counted_and_named(tmp_path: Path) -> None:
    whole = json.dumps(line("t", [0.5]))
    path = tmp_path / "r.jsonl"
    path.write_text(f'{whole[:40]}\n{whole}\n{{"id": 3}}\n\n[1]\nnot json}}\n{whole[:60]}')
    results = Results([path])
    assert [result.scored.id for result in results] == ["t"]
    notes = results.notes
    assert (notes.read, notes.cut, notes.malformed) == (1, 2, 3)
    assert notes.first_malformed.startswith("r.jsonl:3: id:")


def test_of_equal_ids_the_first_scored_one_counts_and_models_stay_apart(tmp_path: Path) -> None:
    failed = line("t", [0.0]) | {"status": "error", "error": {"message": "m", "type": "E", "code": "no_thinking"}}
    first = write(tmp_path / "a.jsonl", failed, line("t", [0.25]), line("t", [0.5]), line("t", [0.75], model="m"))
    second = write(tmp_path / "b.jsonl", failed | {"id": "u"}, line("t", [1.0], extra={"model": "n"}))
    results = Results([first, second])
    assert [(result.model, result.scored.values[0].value) for result in results] == [
        (UNNAMED, 0.25),
        ("m", 0.75),
        ("n", 1.0),
    ]
    assert results.notes.duplicates == 1
    assert results.notes.failed == Counter({"no_thinking": 1})
    assert results.notes.models == Counter({UNNAMED: 1, "m": 1, "n": 1})
    # Read again, and nothing is counted twice.
    assert len(list(results)) == 3
    assert results.notes.read == 3


def test_a_trace_that_cannot_be_read_back_leaves_its_values(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", line("t", [0.5]) | {"trace": {"completion": 3}})
    [result] = Results([path], model="mine")
    assert (result.has_trace, result.model, result.problem, result.completion) == (False, "mine", "t", "")
    assert result.scored.status is Status.OK


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Trace("a", problem="Q"), Trace("b", problem="Q"), True),
        (Trace("a", problem="Q"), Trace("b", problem="R"), False),
        (Trace("a", group="g", problem="Q"), Trace("b", group="g", problem="R"), True),
        (Trace("a", messages=(Message("user", "Q"),)), Trace("b", messages=(Message("user", "Q"),)), True),
        (Trace("a"), Trace("b"), False),
    ],
)
def test_traces_of_one_problem_are_counted_together(one: Trace, other: Trace, same: bool) -> None:
    assert (problem_id(one, one.id) == problem_id(other, other.id)) is same


def test_a_file_that_is_not_there_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none\.jsonl"):
        list(Results([tmp_path / "none.jsonl"]))
