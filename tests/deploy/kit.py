"""What the tests of `deploy/` share."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from mrt_reward.protocols import EndpointState, PrefixHits, ProverInfo
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from tests.server.test_collector import Killing
from tests.service.conftest import speller

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")

_METRIC = re.compile(r"\bmrt_reward_\w+")
_LABELS = re.compile(r"\b(mrt_reward_\w+)\{([^}]*)\}")


def loaded(path: str) -> Any:
    """A YAML file of `deploy/`."""
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def exported(tmp_path: Path) -> dict[str, set[str]]:
    """Names of all series that a server can export, each with its labels, whatever is optional included."""

    scorer = full_scorer(tmp_path)
    telemetry = Telemetry(scorer)
    asyncio.run(_seen(scorer, telemetry))
    registry: CollectorRegistry = telemetry.registry
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for name in _series(family):
            found[name] = {label for sample in family.samples if sample.name == name for label in sample.labels}
    scorer.cache.close()
    return found


class Everything(ScriptedProver):
    """Has all that some engines have and others have not."""

    endpoints = (EndpointState("http://a:9", True), EndpointState("http://b:9", False, "gone"))

    @property
    def info(self) -> ProverInfo:
        return replace(super().info, computed_per_needed=1.25)

    async def prefix_cache(self) -> PrefixHits:
        return PrefixHits(200, 150)


def full_scorer(tmp_path: Path) -> Scorer:
    """With a store, a grader that counts kills, a caller with a budget, and an engine that has everything."""
    cache = ScoreCache(64, SQLiteStore(tmp_path / "scores.sqlite"))
    limits = QueueLimits(1_000_000, {"lab": None})
    return Scorer(Everything(lambda _text, _index: 0.5), {"math": Killing()}, speller, cache=cache, limits=limits)


async def _seen(scorer: Scorer, telemetry: Telemetry) -> None:
    await scorer.false_progress.measure()
    await telemetry.exposition()


def _series(family: Metric) -> set[str]:
    """Those of a family, also where nothing was counted yet."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",), "gauge": ("",)}
    return {family.name + ending for ending in endings[family.type]}


def unknown(expression: str, known: dict[str, set[str]]) -> list[str]:
    """Metrics of an expression that no server exports, and labels that its series do not have."""
    names = [name for name in _METRIC.findall(expression) if name not in known]
    labels = [
        f"{name}{{{label}}}"
        for name, matchers in _LABELS.findall(expression)
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)
        if known.get(name) and label not in known[name] | {"instance", "job"}
    ]
    return names + labels
