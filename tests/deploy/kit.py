"""What the tests of `deploy/` share."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from mrt_reward.protocols import EndpointState
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.telemetry import Telemetry
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import VALUES
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

    class Fleet(ScriptedProver):
        endpoints = (EndpointState("http://a:9", True), EndpointState("http://b:9", False, "gone"))

    store = SQLiteStore(tmp_path / "scores.sqlite")
    limits = QueueLimits(1000, {"lab": 5})
    scorer = Scorer(Fleet(VALUES), {"math": Killing()}, speller, cache=ScoreCache(64, store), limits=limits)
    registry: CollectorRegistry = Telemetry(scorer).registry
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for name in _series(family):
            found[name] = {label for sample in family.samples if sample.name == name for label in sample.labels}
    store.close()
    return found


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
