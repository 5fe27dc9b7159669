from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.datasets.pool import read_pool
from mrt_reward.evaluation.datasets.star import StarSettings, judge
from mrt_reward.evaluation.datasets.stored import NUM_KEPT
from tests.evaluation.datasets.made import line, scored, write


def test_text_is_read_where_it_stands(tmp_path: Path) -> None:
    traces = [scored(name, ["one ", f"{name} two "], [0.0, 0.5, 1.0]) for name in ("a", "\u00e9")]
    path = write(tmp_path / "r.jsonl", line(traces[0]), "not json", "", line(traces[1]))
    pool = read_pool([path])
    assert [trace.trace for trace in pool.traces] == [trace.trace for trace in traces]
    assert pool.traces[1].episode(1) == "\u00e9 two "


def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", line(scored("a", ["one "], [0.0, 1.0])))
    [trace] = read_pool([path]).traces
    with path.open("a") as file:
        file.write("\n")
    with pytest.raises(ConfigError, match="has changed while it was read"):
        _ = trace.completion


def test_memory_holds_numbers_and_no_text(tmp_path: Path) -> None:
    num_chars = 20_000
    row = line(scored("t", ["x" * num_chars, "y"], [0.0, 0.5, 1.0]))

    def peak(num: int) -> int:
        path = write(tmp_path / f"{num}.jsonl", *({**row, "id": f"{num}/{place}"} for place in range(num)))
        tracemalloc.start()
        try:
            assert len(judge(read_pool([path]).traces, StarSettings())) == num
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    # Both fill the window of traces that are kept as text; beyond it, a trace costs its numbers.
    few, more = NUM_KEPT + 50, NUM_KEPT + 250
    assert (peak(more) - peak(few)) / (more - few) < num_chars / 4
