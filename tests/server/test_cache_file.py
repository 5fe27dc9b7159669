"""A server whose cache file fails: callers notice nothing, and whoever runs it does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from mrt_reward.errors import StoreUnavailable
from mrt_reward.server.gate.replies import STATUS
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from tests.server.conftest import TRACE, live_server
from tests.service.test_store import until


async def test_a_lock_on_the_file_costs_no_request_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrt_reward.service.value_file.WRITE_BUSY_S", 0.05)
    path = tmp_path / "scores.sqlite"
    async with live_server() as live:
        store = SQLiteStore(path, first_away_s=0.02)
        live.scorer.cache = ScoreCache(store=store)

        async def statuses(tag: str) -> list[str]:
            traces = [{**TRACE, "id": str(index), "problem": f"{tag} {index}"} for index in range(6)]
            reply = await live.http.post("/v1/score", json={"traces": traces})
            return [trace["status"] for trace in reply.json()["traces"]]

        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert await statuses("while locked") == ["ok"] * 6
        until(lambda: store.num_failures["write"] > 0)
        metrics = (await live.http.get("/metrics")).text
        assert 'mrt_reward_cache_store_failures_total{what="write"} 0.0' not in metrics
        assert 'mrt_reward_cache_store_failures_total{what="write"}' in metrics
        assert "mrt_reward_cache_store_pending 0.0" not in metrics
        other.execute("ROLLBACK")
        other.close()
        assert await statuses("afterwards") == ["ok"] * 6
        until(lambda: store.num_pending == 0)
        assert "mrt_reward_cache_store_pending 0.0" in (await live.http.get("/metrics")).text


def test_a_clear_that_failed_may_be_sent_again() -> None:
    assert next(status for kind, status in STATUS if issubclass(StoreUnavailable, kind)) == 503
    assert StoreUnavailable("m").retryable
