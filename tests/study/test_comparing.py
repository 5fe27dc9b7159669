from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrt_reward.errors import ConfigError
from tests.study.comparing import Finished, Point, first_at, paired, read_runs, tokens_per_right, trained
from tests.study.report import draw, page, strongest_rival


def finished(arm: str, seed: int, regret_N: list[float], *, between: float = 0.6) -> Finished:
    """Two evaluations, the first one of regret `between`, after 0 and 1000 training tokens."""
    problems = {name: np.array(regret_N) for name in ("regret", "within", "right", "tokens", "waste")}
    mean = {name: float(np.mean(each)) for name, each in problems.items()}
    points = [Point(0, {**mean, "regret": between}, [0.1, 0.2], 0.0), Point(10, mean, [0.3, 0.4], 1000.0)]
    candidates, outcomes = np.array([12, 12, 16, 16])[: len(regret_N)], np.full(10, 1.0 - np.mean(regret_N))
    return Finished(arm, "deep", seed, "likelihood", points, problems, candidates, outcomes)


def test_a_difference_is_paired_by_seed_and_problem() -> None:
    # Gaps of -0.1 at both problems of both seeds, whatever the level: no spread at all.
    ours = [finished("rate", 0, [0.2, 0.5]), finished("rate", 1, [0.3, 0.7]), finished("rate", 2, [0.0, 0.0])]
    theirs = [finished("outcome", 1, [0.4, 0.8]), finished("outcome", 0, [0.3, 0.6])]
    gap = paired(ours, theirs, "regret")
    assert (gap.mean, gap.low, gap.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert gap.num_seeds == 2


def test_an_interval_has_the_spread_of_seeds_and_of_problems() -> None:
    seeds = [[0.1, 0.1, 0.1, 0.1], [0.3, 0.3, 0.3, 0.3]]
    other = [finished("outcome", seed, [0.0] * 4) for seed in (0, 1)]
    gap = paired([finished("rate", seed, each) for seed, each in enumerate(seeds)], other, "regret")
    # With two seeds one in two resamples draws both: the ends are the seeds themselves.
    assert (gap.mean, gap.low, gap.high) == pytest.approx((0.2, 0.1, 0.3))
    spread = paired([finished("rate", 0, [0.0, 0.4, 0.0, 0.4])], other[:1], "regret")
    assert spread.low == pytest.approx(0.0, abs=0.11)
    assert spread.high == pytest.approx(0.4, abs=0.11)


def test_a_problem_without_a_number_is_left_out() -> None:
    gap = paired([finished("rate", 0, [0.2, np.nan])], [finished("outcome", 0, [0.3, 0.1])], "waste")
    assert gap.mean == pytest.approx(-0.1)


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ConfigError, match="a seed in common"):
        paired([finished("rate", 0, [0.2])], [finished("outcome", 1, [0.3])], "regret")
    with pytest.raises(ConfigError, match="the same problems"):
        paired([finished("rate", 0, [0.2])], [finished("outcome", 0, [0.3, 0.4])], "regret")


def test_when_a_regret_was_reached() -> None:
    # From 0.6 at step 0 to 0.2 at step 10: 0.4 halfway, after 500 tokens.
    runs = [finished("rate", 0, [0.2, 0.2])]
    assert first_at(runs, 0.4).step == pytest.approx(5.0)
    assert first_at(runs, 0.4).training_tokens == pytest.approx(500.0)
    assert first_at(runs, 0.7).step == 0.0
    assert first_at(runs, 0.1).step is None


def test_success_in_training_is_paired_by_seed() -> None:
    # Gaps of 0.1 and 0.3: mean 0.2, deviation √0.02, Student's factor 12.706 for two seeds.
    ours = [finished("rate-16", 0, [0.2]), finished("rate-16", 1, [0.3])]
    theirs = [finished("outcome", 1, [0.6]), finished("outcome", 0, [0.3])]
    gap = trained(ours, theirs, 5)
    assert gap.mean == pytest.approx(0.2)
    assert gap.high - gap.mean == pytest.approx(12.706 * np.sqrt(0.02 / 2), rel=1e-4)
    with pytest.raises(ConfigError, match="two seeds in common"):
        trained(ours[:1], theirs, 5)
    with pytest.raises(ConfigError, match="as many steps"):
        trained(ours, [replace(theirs[0], outcomes=np.zeros(9)), theirs[1]], 5)


def test_tokens_of_a_right_answer() -> None:
    # `right` and `tokens` are both 0.5 here.
    assert tokens_per_right([finished("rate", 0, [0.5])]) == pytest.approx(1.0)
    assert tokens_per_right([finished("rate", 0, [0.0])]) == np.inf


def test_the_page_compares_with_the_strongest_rival_and_draws_the_same_picture_twice(tmp_path: Path) -> None:
    runs = [
        *(finished("outcome", seed, [0.4, 0.4, 0.5, 0.5]) for seed in (0, 1)),
        *(finished("forced-length-0.3", seed, [0.3, 0.3, 0.4, 0.4]) for seed in (0, 1)),
        *(finished("rate", seed, [0.2, 0.2, 0.3, 0.3]) for seed in (0, 1)),
    ]
    groups: dict[Any, Any] = {(run.regime, run.arm, run.values): [run] for run in runs}
    assert strongest_rival(groups) == ("deep", "forced-length-0.3", "likelihood")
    report = page(runs)
    assert "## deep" in report
    assert "the last of forced-length-0.3 (likelihood), the strongest rival" in report
    assert "| rate (likelihood) | -0.1 [-0.1, -0.1] |" in report
    # Rate comes down from 0.6 to 0.25 and passes 0.35 at 250/350 of the way.
    assert "| rate (likelihood) | 7.1 | 1 k |" in report
    assert "| rate (likelihood) | 2 | 0.750 | +0.2 [+0.2, +0.2] |" in report
    assert "forced-length" not in report.partition("in training")[2].partition("Each seed")[0]
    assert "| rate (likelihood) | regret to 3 budgets | 0.250 | 0.250 |" in report
    assert "| rate (likelihood) | 0.2 |" in report.partition("hard ones more")[2]
    for name in ("a.svg", "b.svg"):
        draw(runs, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_runs_that_are_not_done_are_not_read(tmp_path: Path) -> None:
    begun: dict[str, Any] = {"run": {"arm": "rate"}}
    (tmp_path / "begun.jsonl").write_text(json.dumps(begun) + "\n")
    assert read_runs(tmp_path) == []
    with pytest.raises(ConfigError, match="no run is done"):
        page([])
