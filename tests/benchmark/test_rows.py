from __future__ import annotations

from dataclasses import replace

import pytest

from mrt_reward.benchmark.processes import Cost
from mrt_reward.benchmark.rows import BenchRow, Done, Failed, Way, forward_of, record, row, speed_ratio, total
from mrt_reward.benchmark.table import COLUMNS, cells, show

COST = Cost(wall_s=5.0, own_cpu_s=1.0, children_cpu_s=3.0, own_peak_mb=100.0, children_peak_mb=300.0)
FORWARD = row(Way("forward", "likelihood", "in process", "vllm", "likelihood"), Done(10, 1000, 1000), COST)
OURS = row(
    Way("ours", "likelihood", "in process", "vllm", "likelihood"), Done(10, 1100, 1000), replace(COST, own_cpu_s=2.0)
)
PEER = row(Way("peer", "(b)", "in process", "vllm", "free answers"), Done(4, 100, 80, 32.0), COST)
FAR = row(Way("ours", "likelihood", "server", "vllm", "likelihood"), Done(10, 1100, None), COST, elsewhere=True)


def test_figures_follow_from_what_was_measured() -> None:
    # 10 prefixes in 1 + 3 CPU-seconds and 5 seconds.
    assert FORWARD.prefixes_per_cpu_s == 2.5
    assert FORWARD.prefixes_per_s == 2.0
    assert OURS.computed_to_needed == pytest.approx(1.1)
    assert speed_ratio(OURS, FORWARD) == pytest.approx(0.8)


def test_a_server_is_charged_for_its_own_memory_and_for_its_callers_time() -> None:
    served = row(Way("ours", "likelihood", "server", "vllm", "likelihood"), Done(10, 1100, 1000), COST)
    assert served.peak_mb == 300.0
    assert FORWARD.peak_mb == 400.0
    assert (served.cpu_s, served.caller_cpu_s) == (4.0, 1.0)


def test_what_cannot_be_seen_has_no_figure() -> None:
    assert (FAR.cpu_s, FAR.peak_mb, FAR.prefixes_per_cpu_s, FAR.computed_to_needed) == (None, None, None, None)
    assert speed_ratio(FAR, FORWARD) is None
    assert replace(FAR, wall_s=0.0).prefixes_per_s == 0.0


def test_a_full_forward_is_of_the_same_engine_and_estimator() -> None:
    rows = [FORWARD, OURS, PEER]
    assert forward_of(OURS, rows) is FORWARD
    assert forward_of(PEER, rows) is None
    assert forward_of(replace(OURS, engine="transformers"), rows) is None


def test_rounds_add_up_and_memory_is_the_highest() -> None:
    both = total([COST, Cost(1.0, 1.0, 1.0, 50.0, 400.0)])
    assert both == Cost(6.0, 2.0, 4.0, 100.0, 400.0)
    assert Done(1, 2, 3).plus(Done(4, 5, 6, 7.0)) == Done(5, 7, 9, 7.0)
    assert Done(1, None, 3).plus(Done(4, 5, None)) == Done(5, None, None)


def test_a_record_says_all_and_can_be_read_back() -> None:
    figures_of = dict(record(OURS, [FORWARD, OURS]))
    assert figures_of["ratio_to_forward"] == pytest.approx(0.8)
    assert figures_of["prefixes_per_s"] == 2.0
    assert BenchRow(**{name: figures_of[name] for name in BenchRow.__dataclass_fields__}) == OURS  # type: ignore[arg-type]
    assert record(PEER, [PEER])["ratio_to_forward"] is None


def test_the_table_has_a_cell_for_each_column(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [FORWARD, OURS, PEER, FAR]
    assert cells(OURS, rows) == [
        "ours, vllm, in process: likelihood", "10", "5.0", "5.0", "2.00", "0.80", "1.100", "400", "--"
    ]  # fmt: skip
    assert {len(cells(one, rows)) for one in rows} == {len(COLUMNS)}
    assert cells(PEER, rows)[-1] == "32.0"
    show(rows, [Failed(Way("peer", "(d) [x]", "server", "vllm", "likelihood"), "ReadError")], "a title")
    shown = capsys.readouterr().out
    assert "failed: peer, vllm, server: (d) [x]: ReadError" in shown
    assert "a title" in shown
    assert "ours, vllm, in process: likelihood" in shown
