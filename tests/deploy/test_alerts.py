"""Alert rules ask for what the server exports, fire when they should, and have a remedy."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.kit import DEPLOY, PROMTOOL, exported, loaded, unknown

RULES: list[dict[str, Any]] = [rule for group in loaded("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]
NAMES = [rule["alert"] for rule in RULES]


def test_every_rule_asks_for_what_a_server_exports(tmp_path: Path) -> None:
    known = exported(tmp_path)
    assert [lost for rule in RULES for lost in unknown(rule["expr"], known)] == []


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert len(rule["annotations"]["description"]) > 40
        assert f"| `{rule['alert']}` |" in page
    assert len(set(NAMES)) == len(NAMES)


def test_every_rule_is_tried_both_when_all_is_well_and_when_it_is_not() -> None:
    well, ill = loaded("prometheus/alerts_test.yaml")["tests"]
    assert [case["alertname"] for case in well["alert_rule_test"]] == NAMES
    assert not any("exp_alerts" in case for case in well["alert_rule_test"])
    asked = {name for rule in RULES for name in re.findall(r"\b(?:mrt_reward_\w+|up)\b", rule["expr"])}
    for case in (well, ill):
        given = {re.split(r"[{]", series["series"])[0] for series in case["input_series"]}
        assert given == asked
    assert all(sample["value"] == len(NAMES) for test in ill["promql_expr_test"] for sample in test["exp_samples"])


def test_prometheus_scrapes_the_service_of_the_compose_file() -> None:
    config = loaded("prometheus/prometheus.yaml")
    [job] = config["scrape_configs"]
    [target] = job["static_configs"][0]["targets"]
    service, port = target.split(":")
    assert service in loaded("compose.yaml")["services"]
    assert port == "8000"
    assert f'up{{job="{job["job_name"]}"}}' in RULES[0]["expr"]
    assert config["rule_files"] == ["alerts.yaml"]


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus), nor named by PROMTOOL")
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yaml"), ("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")],
)
def test_promtool_takes_them_and_each_rule_fires_only_when_it_should(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
