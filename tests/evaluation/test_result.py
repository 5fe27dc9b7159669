"""A line of results: its parts, whether they are in memory or in the file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.traces import Results
from mrt_reward.types import Trace
from tests.evaluation.datasets.made import line, scored, write


def test_a_line_without_its_trace_says_so_where_it_is_asked_for(tmp_path: Path) -> None:
    whole = line(scored("t", ["one "], [0.0, 1.0]))
    path = write(tmp_path / "r.jsonl", whole, {**whole, "id": "u", "trace": None})
    first, second = Results([path])
    assert (first.has_trace, first.trace.problem) == (True, "6 times 7?")
    assert (second.has_trace, second.completion, second.text_until(1)) == (False, "", "")
    with pytest.raises(ConfigError, match=r"the line of u in .*r\.jsonl does not hold its trace"):
        _ = second.trace


def test_offsets_that_an_earlier_version_wrote_are_read(tmp_path: Path) -> None:
    whole = line(scored("t", ["one ", "two "], [0.0, 0.5, 1.0]))
    path = write(tmp_path / "r.jsonl", {**whole, "trace": {**whole["trace"], "episodes": [0, 4]}})
    [result] = Results([path])
    assert result.trace.episode_starts == (0, 4)


def test_scores_of_another_prover_stand_for_those_of_the_line() -> None:
    first, second = scored("t", ["one "], [0.0, 1.0]), scored("t", ["one "], [0.25, 0.5])
    again = replace(first, rescored=second.scored)
    assert (again.values.tolist(), again.trace) == ([0.25, 0.5], first.trace)


def test_text_until_a_prefix_has_what_opens_the_thinking() -> None:
    result = scored("t", ["one ", "two "], [0.0, 0.5, 1.0], opener="<think>")
    assert [result.text_until(j) for j in range(3)] == ["<think>", "<think>one ", "<think>one two "]
    assert [result.prefix(j) for j in range(3)] == ["", "one ", "one two "]


def test_what_was_asked_tells_problems_apart_not_their_names() -> None:
    [one, two, other] = [
        Result((Trace("t", problem=problem, completion="c", group=group), scored("t", ["c"], [0, 1]).scored))
        for problem, group in (("q", "a"), ("q", "b"), ("p", "a"))
    ]
    assert one.problem_key == two.problem_key != other.problem_key
