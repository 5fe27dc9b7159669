"""The Grafana dashboard shows what the server exports, and loads without edits."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.kit import DEPLOY, PROMTOOL, exported, loaded, unknown

BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/mrt-reward.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = BOARD["panels"]
KINDS = {"stat", "timeseries", "heatmap"}


def expressions() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_metric_and_label_of_every_panel_is_one_that_a_server_exports(tmp_path: Path) -> None:
    known = exported(tmp_path)
    assert [lost for expression in expressions() for lost in unknown(expression, known)] == []
    assert len(expressions()) >= 20


def test_every_metric_of_ours_is_on_the_dashboard_or_says_what_cannot_be_drawn(tmp_path: Path) -> None:
    shown = {name for expression in expressions() for name in re.findall(r"\bmrt_reward_\w+", expression)}
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported(tmp_path)}
    hidden = families - {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    assert hidden == {
        "mrt_reward_endpoint_up",  # the breaker's state is its opposite
        "mrt_reward_endpoint_proofs_total",
        "mrt_reward_cache_store_pending",
        "mrt_reward_computed_per_needed",  # measured at the start, and constant since
    }


@pytest.mark.parametrize(
    ("expression", "lost"),
    [
        ("rate(mrt_reward_items_total[5m])", []),
        ("rate(mrt_reward_items[5m])", ["mrt_reward_items"]),
        ('mrt_reward_items_total{outcome="ok",instance=~"a"}', []),
        ('mrt_reward_cache_hits_total{level!="memory"}', ["mrt_reward_cache_hits_total{level}"]),
    ],
)
def test_a_name_that_no_server_exports_is_found(expression: str, lost: list[str], tmp_path: Path) -> None:
    assert unknown(expression, exported(tmp_path)) == lost


def test_the_board_names_no_data_source_of_anybodys_and_takes_the_one_that_is_provisioned() -> None:
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    sources = [panel["datasource"] for panel in PANELS] + [
        target["datasource"] for panel in PANELS for target in panel["targets"]
    ]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    used = set(re.findall(r"\$\{?(\w+)", " ".join(expressions())))
    assert used <= set(variables) | {"__rate_interval"}
    [provisioned] = loaded("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert (provisioned["type"], provisioned["isDefault"]) == ("prometheus", True)
    assert "id" not in BOARD, "an id is one Grafana's own; it gives one when it loads the board"


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus), nor named by PROMTOOL")
def test_promtool_reads_every_expression(tmp_path: Path) -> None:
    chosen = [expression.replace("$__rate_interval", "5m").replace("$instance", ".*") for expression in expressions()]
    rules = [{"record": f"panel:{index}", "expr": expression} for index, expression in enumerate(chosen)]
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [str(PROMTOOL), "check", "rules", str(file)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_are_of_known_kinds_distinguished_described_and_beside_each_other() -> None:
    assert {panel["type"] for panel in PANELS} <= KINDS
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert all(panel["description"] for panel in PANELS)
    positions = [panel["gridPos"] for panel in PANELS]
    assert all(position["x"] + position["w"] <= 24 for position in positions)
    for one, other in combinations(positions, 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
