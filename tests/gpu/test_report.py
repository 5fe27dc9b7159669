"""What was measured is on the disk after every part, and nothing takes it away."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gpu.report import Figure, Report, machine


@pytest.fixture
def report(tmp_path: Path) -> Report:
    return Report(tmp_path, {"date": "today", "card": "none"}, time.monotonic() + 1000)


async def figures(*found: Figure, error: Exception | None = None) -> AsyncIterator[Figure]:
    for figure in found:
        yield figure
    if error is not None:
        raise error


def stored(report: Report) -> Any:
    return json.loads((report.folder / "gpu.json").read_text(encoding="utf-8"))


async def test_a_part_that_fails_takes_nothing_away(report: Report) -> None:
    await report.take("m", "first", figures(Figure("m", "speed", 12.5, "GB")))
    assert [each["name"] for each in stored(report)["figures"]] == ["speed", "first: took"]
    await report.take("m", "second", figures(Figure("m", "half", 1.0), error=RuntimeError("no | kernel\nhere")))
    await report.take("m", "third", figures(Figure("m", "last", 1234.5)))
    reported = stored(report)
    assert [each["name"] for each in reported["figures"] if "took" not in each["name"]] == ["speed", "half", "last"]
    assert reported["failures"] == [{"model": "m", "part": "second", "why": "RuntimeError: no | kernel\nhere"}]
    assert reported["card"] == "none"
    assert not report.is_good
    table = (report.folder / "gpu.md").read_text(encoding="utf-8").splitlines()
    assert "| m | speed | 12.5 GB |  |" in table
    assert "| m | last | 1,234 |  |" in table
    assert "| m | second | failed | RuntimeError: no / kernel here |" in table
    # One table: every line from the heading on has four cells.
    assert {line.count("|") for line in table[2:]} == {5}


async def test_no_part_begins_once_time_is_up(tmp_path: Path) -> None:
    report = Report(tmp_path, {}, time.monotonic() - 1)
    await report.take("m", "late", figures(Figure("m", "speed", 1.0)))
    assert stored(report)["figures"] == []
    assert stored(report)["failures"] == [{"model": "m", "part": "late", "why": "not measured: time is up"}]


async def test_what_does_not_hold_is_said_and_remembered(report: Report) -> None:
    await report.take("m", "p", figures(Figure("m", "a", 0.1, "nats", "at most 0.2", holds=True)))
    assert report.is_good
    await report.take("m", "q", figures(Figure("m", "b", 0.3, "nats", "at most 0.2", holds=False)))
    assert not report.is_good
    assert "| m | a | 0.1 nats | holds; at most 0.2 |" in report.markdown()
    assert "| m | b | 0.3 nats | DOES NOT HOLD; at most 0.2 |" in report.markdown()


def test_the_machine_has_a_date_and_a_card() -> None:
    about = machine(torch.device("cpu"))
    assert about["date"].endswith(" UTC")
    assert about["card"] == "none, on a CPU"
    assert about["torch"] == torch.__version__
