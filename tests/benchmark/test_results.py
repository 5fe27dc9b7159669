"""Rows while they come: rounds add up, and failures stand beside them."""

from __future__ import annotations

import pytest

from mrt_reward.benchmark.processes import Cost
from mrt_reward.benchmark.results import BenchResults
from mrt_reward.benchmark.rows import Done, Way
from mrt_reward.errors import ProverError

OURS = Way("ours", "likelihood", "in process", "vllm", "likelihood")
PEER = Way("peer", "(a)", "server", "vllm", "likelihood")
COST = Cost(2.0, 1.0, 0.0, 10.0, 0.0)


def test_a_row_is_there_after_its_first_round_and_rounds_add_up() -> None:
    seen: list[list[int]] = []
    results = BenchResults(changed=lambda results: seen.append([row.prefixes for row in results.rows]))
    results.add(OURS, Done(10, 100, 100), COST)
    results.add(PEER, Done(5, 100, 100), COST)
    results.add(OURS, Done(10, 120, 100), COST)
    assert seen == [[10], [10, 5], [20, 5]]
    assert (results.rows[0].computed_tokens, results.rows[0].wall_s) == (220, 4.0)
    assert results.latest == "ours, vllm, in process: likelihood: 10 prefixes in 2.0 s"


def test_a_failure_is_a_record_that_says_why_and_takes_no_row_away() -> None:
    results = BenchResults()
    results.add(OURS, Done(10, 100, 100), COST)
    with results.surviving(PEER):
        raise ProverError("the server broke off")
    with results.surviving(OURS):
        raise ConnectionResetError
    assert [record.get("failed") for record in results.records()] == [
        None,
        "the server broke off",
        "ConnectionResetError",
    ]
    assert results.records()[1]["name"] == "(a)"
    assert results.has_failed(PEER)
    assert results.latest.endswith("likelihood: failed: ConnectionResetError")


def test_who_stops_the_benchmark_is_not_written_down_as_a_failure() -> None:
    results = BenchResults()
    with pytest.raises(KeyboardInterrupt), results.surviving(PEER):
        raise KeyboardInterrupt
    assert results.failures == []
