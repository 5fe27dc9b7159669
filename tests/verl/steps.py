"""What a run wrote down, and what every step of it has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def steps_of(folder: Path) -> list[dict[str, Any]]:
    """Metrics of each training step that was logged so far."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    logged = [json.loads(line)["data"] for line in lines if line.endswith("}")]
    return [data for data in logged if "training/global_step" in data]


def check_learning(steps: list[dict[str, Any]], num_steps: int) -> None:
    assert [data["training/global_step"] for data in steps] == list(range(1, num_steps + 1))
    for data in steps:
        assert math.isfinite(data["actor/grad_norm"])
        assert data["actor/grad_norm"] > 0
        assert 0 <= data["mrt/outcome/mean"] <= 1
        assert {"mrt/progress/mean", "mrt/value/first", "mrt/regret", "mrt/prover/latency_s/mean"} <= set(data)


def check_failures(data: dict[str, Any], num_failed: Mapping[str, int], num_traces: int = 16) -> None:
    """What a step of so many traces says of failures: these, and no others."""
    failed = {name.removeprefix("mrt/failed/"): value for name, value in data.items() if name.startswith("mrt/failed/")}
    assert failed.pop("share") == sum(num_failed.values()) / num_traces
    assert {name: value for name, value in failed.items() if value} == dict(num_failed)
    assert data["mrt/traces/scored"] == num_traces - sum(num_failed.values())
