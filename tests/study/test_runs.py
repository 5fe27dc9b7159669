"""A few steps of the study, from its command to its page, and what a kill does to it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mrt_reward.errors import ConfigError
from mrt_reward.mini import MODEL_DIR
from tests.study.comparing import read_run
from tests.study.evaluating import METRICS, Size
from tests.study.runs import RunSpec, is_done, run
from tests.study.values import ValueSpec

TINY = Size(2, 2)
SPEC = RunSpec(
    "paper-1",
    "short",
    3,
    2,
    1,
    ValueSpec("likelihood", prover=MODEL_DIR),
    MODEL_DIR,
    problems=2,
    group_size=2,
    learning_rate=1e-3,
    between=TINY,
    final=TINY,
)


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def without_clock(path: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.get("step", {}).pop("seconds", None)
    return lines


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    whole = asyncio.run(run(SPEC, tmp_path / "whole"))

    def kill(step: int) -> None:
        if step == 1:
            raise Killed

    with pytest.raises(Killed):
        asyncio.run(run(SPEC, tmp_path / "broken", kill))
    broken = tmp_path / "broken" / f"{SPEC.name}.jsonl"
    assert not is_done(broken)
    assert read_run(broken) is None
    assert asyncio.run(run(SPEC, tmp_path / "broken")) == broken
    assert is_done(broken)
    assert without_clock(broken) == without_clock(whole)
    # Done once is done: a third start only says so.
    report: list[int] = []
    asyncio.run(run(SPEC, tmp_path / "broken", report.append))
    assert report == [SPEC.num_steps]
    # The policy learned something between the evaluations, and the file holds what the report needs.
    finished = read_run(whole)
    assert finished is not None
    assert [point.step for point in finished.points] == [0, 1, 2]
    assert finished.points[0].curve != finished.points[1].curve
    assert set(finished.problems) == set(METRICS)
    assert 0 < finished.points[1].training_tokens < finished.final.training_tokens
    assert whole.stat().st_size < 10_000


def test_a_file_of_a_run_with_other_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    def kill(step: int) -> None:
        if step == 1:
            raise Killed

    with pytest.raises(Killed):
        asyncio.run(run(SPEC, tmp_path, kill))
    with pytest.raises(ConfigError, match="other settings"):
        asyncio.run(run(replace(SPEC, group_size=3), tmp_path))
