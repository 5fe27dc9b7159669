from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation import pool, stored
from mrt_reward.evaluation.curriculum import CurriculumSettings, plan_round
from mrt_reward.evaluation.datasets.backtracking import BacktrackSettings, backtracks_from
from mrt_reward.evaluation.datasets.pairs import PairSettings, step_pairs
from mrt_reward.evaluation.datasets.prefixes import PrefixSettings, draw_cuts
from mrt_reward.evaluation.datasets.star import StarSettings, judge
from mrt_reward.evaluation.datasets.star_report import star_report
from mrt_reward.evaluation.pool import read_pool
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.stored import NUM_KEPT
from tests.evaluation.datasets.made import line, scored, write


def test_text_is_read_where_it_stands(tmp_path: Path) -> None:
    traces = [scored(name, ["one ", f"{name} two "], [0.0, 0.5, 1.0]) for name in ("a", "\u00e9")]
    path = write(tmp_path / "r.jsonl", line(traces[0]), "not json", "", line(traces[1]))
    read = read_pool([path])
    assert [trace.trace for trace in read.traces] == [trace.trace for trace in traces]
    assert read.traces[1].episode(1) == "\u00e9 two "


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", line(scored("a", ["one "], [0.0, 1.0])))
    [trace] = read_pool([path]).traces
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match="has changed while it was read"):
        _ = trace.completion


USES: dict[str, Callable[[Sequence[Result]], object]] = {
    "star": lambda traces: star_report(judge(traces, StarSettings()), {}, StarSettings()),
    "pairs": lambda traces: step_pairs(traces, PairSettings()),
    "prefixes": lambda traces: draw_cuts(traces, PrefixSettings()),
    "backtracks": lambda traces: backtracks_from(traces, BacktrackSettings()),
    "curriculum": lambda traces: plan_round(traces, CurriculumSettings()).budget,
}


@pytest.mark.parametrize("verb", USES)
def test_memory_holds_neither_text_nor_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """A trace of 500 characters and 16 episodes, whose scores alone take some 8 kB, costs a few numbers."""
    monkeypatch.setattr(pool, "NUM_KEPT", 8)
    rows = [
        line(scored(name, [f"{name}{'x' * 30}"] * 16, [0.1 * (j % 7) for j in range(17)], outcome=outcome))
        for name, outcome in (("right", 1.0), ("wrong", 0.0))
    ]

    def peak(num: int) -> int:
        lines = (
            {**row, "id": f"{at}", "trace": {**row["trace"], "problem": f"{at % 40}?"}}
            for at in range(num)
            for row in [rows[at // 40 % 2]]
        )
        path = write(tmp_path / f"{num}.jsonl", *lines)
        tracemalloc.start()
        try:
            traces = read_pool([path]).traces
            made = USES[verb](traces)
            assert made
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Both fill the window of traces that are kept.
    few, more = 80, 240
    peak(few)  # what is loaded on first use
    assert (peak(more) - peak(few)) / (more - few) < 1500


def test_the_traces_of_one_problem_are_kept_together_however_many_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line is read when the file is, and once more."""
    row = line(scored("t", ["one ", "two "], [0.0, 0.5, 1.0]))
    num = NUM_KEPT + 20
    path = write(tmp_path / "r.jsonl", *({**row, "id": f"{index}"} for index in range(num)))
    traces = read_pool([path]).traces
    num_read = 0
    read = stored.scored_trace_of_line

    def counted(text: bytes) -> object:
        nonlocal num_read
        num_read += 1
        return read(text)

    monkeypatch.setattr(stored, "scored_trace_of_line", counted)
    step_pairs(traces, PairSettings())
    judge(traces, StarSettings())
    assert num_read == num
