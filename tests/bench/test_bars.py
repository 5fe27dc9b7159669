from __future__ import annotations

from mrt_reward.benchmark.processes import Cost
from mrt_reward.benchmark.rows import BenchRow, Done, Kind, Place, Way, record, row
from tests.bench.bars import as_rows, bars


def measured(
    kind: Kind, name: str, place: Place, cpu_s: float, prefixes: int = 100, estimator: str = "likelihood"
) -> BenchRow:
    way = Way(kind, name, place, "vllm", estimator)
    return row(way, Done(prefixes, 1100, 1000), Cost(1.0, cpu_s, 0.0, 1.0, 1.0))


ROWS = [
    measured("forward", "likelihood", "in process", 8.0),
    measured("ours", "likelihood", "in process", 10.0),
    measured("forward", "rollouts", "in process", 20.0, estimator="rollouts"),
    measured("ours", "rollouts", "in process", 40.0, estimator="rollouts"),
    measured("ours", "likelihood of 100", "in process", 1.0),
    measured("ours", "likelihood of 1,000", "in process", 13.0, 1000),
    measured("ours", "likelihood", "server", 12.5),
    measured("peer", "(a) in turn; vLLM's defaults", "server", 25.0),
    measured("peer", "(a) in turn; our executor", "server", 37.5),
]


def test_bars_compare_what_was_measured() -> None:
    found = {bar.name: bar for bar in bars("mini", "vllm", ROWS)}
    assert found["mini, vllm: likelihood in process / one full forward"].value == 0.8
    assert found["mini, vllm: likelihood in process / one full forward"].holds
    assert found["mini, vllm: likelihood through our server / in process"].value == 0.8
    assert found["mini, vllm: likelihood through our server / in process"].holds is False
    assert not any("vLLM's defaults" in name for name in found)
    assert found["mini, vllm: rollouts in process / one full forward"].value == 0.5
    assert found["mini, vllm: rollouts in process / one full forward"].holds is False
    assert found["mini, vllm: likelihood through our server / (a), our executor"].value == 3.0
    assert found["mini, vllm: likelihood through our server / (c), our executor"].holds is None
    assert found["mini, vllm: computed / needed, likelihood, server"].holds
    growth = found["mini, vllm: most / least CPU-s of a prefix, 100 to 1,000, in process"]
    assert growth.value is not None
    assert growth.holds is False


def test_rows_are_read_back_from_json() -> None:
    assert as_rows([record(one, ROWS) for one in ROWS]) == ROWS
