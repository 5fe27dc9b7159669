"""The table of metrics in deploy/README.md is what a running server shows: each name, with its labels, both ways."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.kit import DEPLOY, Everything, full_scorer
from tests.server.conftest import TRACE, live_server

PROMISED = {
    "mrt_reward_requests_total": {"route", "code"},
    "mrt_reward_items_total": {"outcome"},
    "mrt_reward_queue_depth": set[str](),
    "mrt_reward_queue_tokens": set[str](),
    "mrt_reward_queue_wait_seconds": set[str](),
    "mrt_reward_score_seconds": {"route"},
    "mrt_reward_engine_seconds": set[str](),
    "mrt_reward_engine_inflight": {"engine"},
    "mrt_reward_breaker_state": {"engine"},
    "mrt_reward_cache_hits_total": {"tier"},
    "mrt_reward_cache_misses_total": {"tier"},
    "mrt_reward_prefix_cache_hit_ratio": set[str](),
    "mrt_reward_grader_seconds": {"grader"},
    "mrt_reward_grader_kills_total": {"grader", "reason"},
    "mrt_reward_progress": set[str](),
    "mrt_reward_canary_false_progress": set[str](),
    "mrt_reward_weight_version_info": {"model", "version", "engine"},
    "mrt_reward_deadline_exceeded_total": set[str](),
    "mrt_reward_retries_total": {"endpoint"},
    "mrt_reward_tenant_tokens_total": {"tenant"},
}
"""Names that dashboards of other people may rely on: one that goes, or changes its labels, breaks them."""


def documented() -> dict[str, set[str]]:
    """Names and labels of the table."""
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    table = page.partition("## What to watch")[2].partition("\n## ")[0]
    first_cells = "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    return {
        name: set(labels.split(",")) if labels else set()
        for name, labels in re.findall(r"`(mrt_reward_\w+)(?:\{([\w,]+)\})?`", first_cells)
    }


async def shown(tmp_path: Path) -> dict[str, set[str]]:
    """What `/metrics` of a running server has samples of, after one request of its work."""
    scorer = full_scorer(tmp_path)
    async with live_server(Everything([]), scorer, canary_every_s=3600) as live:
        options = {"estimator": {"kind": "rollouts", "num_samples": 2}}
        headers = {"X-Deadline-Ms": "60000"}
        reply = await live.http.post("/v1/score", json={"traces": [TRACE], "options": options}, headers=headers)
        assert reply.json()["traces"][0]["status"] == "ok"
        await scorer.false_progress.measure()
        page = (await live.http.get("/metrics")).text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            histogram = family.type == "histogram"
            name = re.sub("_(bucket|count|sum)$", "", sample.name) if histogram else sample.name
            if not name.endswith("_created"):
                found.setdefault(name, set()).update(sample.labels.keys() - ({"le"} if histogram else set()))
    return found


async def test_a_running_server_shows_every_promised_name_with_its_labels(tmp_path: Path) -> None:
    found = await shown(tmp_path)
    assert {name: found.get(name) for name in PROMISED} == PROMISED


async def test_the_table_lists_what_a_server_shows_and_nothing_else(tmp_path: Path) -> None:
    assert documented() == await shown(tmp_path)
