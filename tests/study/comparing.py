"""Finished runs side by side: means over seeds, and paired differences with intervals over seeds and problems.

Dimension key: S seeds · N problems · R resamples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrt_reward.errors import ConfigError
from tests.study.runs import LEARNING_RATE

Floats = NDArray[np.float64]

NUM_RESAMPLES = 4000
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t at 97.5 %, for 1 to 9 degrees of freedom; with more seeds the last one is a little too wide."""
HARD_SHARE = 0.5
"""Problems with more candidates than this share of the others are hard."""


@dataclass(frozen=True)
class Point:
    """An evaluation in a run."""

    step: int
    mean: dict[str, float]
    curve: list[float]
    training_tokens: float


@dataclass(frozen=True)
class Finished:
    """A run that is done.

    Attributes:
        arm: by name.
        regime: by name.
        seed: of the run.
        values: where the values of prefixes came from; and the learning rate, where it is not the usual one.
        points: its evaluations, the last one the final one.
        problems: of the final one, by metric, one number per problem; NaN where there is none.
        candidates: of each of these problems.
        outcomes: mean outcome of each step's traces, which is success within the budget where nothing is taken off it.

    """

    arm: str
    regime: str
    seed: int
    values: str
    points: list[Point]
    problems: dict[str, Floats]
    candidates: NDArray[np.int64]
    outcomes: Floats

    @property
    def final(self) -> Point:
        """Its last evaluation."""
        return self.points[-1]

    def with_steps(self) -> Finished:
        """The same, which says how many steps it took, so that runs of other numbers are grouped apart."""
        return replace(self, values=f"{self.values}, {self.final.step} steps")


def read_run(path: Path) -> Finished | None:
    """A run's file; None where it is not done yet."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines or "done" not in lines[-1]:
        return None
    what = lines[0]["run"]
    traces, rate, warmup = what["problems"] * what["group_size"], what["learning_rate"], what["warmup_steps"]
    tokens, points, last = 0.0, list[Point](), {}
    for line in lines:
        if "step" in line:
            tokens += line["step"]["tokens"] * traces
        elif "eval" in line:
            last = line["eval"]
            points.append(Point(last["step"], last["mean"], last["curve"], tokens))
    problems = {
        name: np.array([np.nan if each is None else each for each in report], np.float64)
        for name, report in last["problems"].items()
    }
    return Finished(
        what["arm"],
        what["regime"],
        what["seed"],
        what["values"]
        + ("" if rate == LEARNING_RATE else f", learning rate {rate:g}")
        + (f", warm-up of {warmup} steps" if warmup else "")
        + (", decay" if what.get("decay") else ""),
        points,
        problems,
        np.array(last["candidates"]),
        np.array([line["step"]["outcome"] for line in lines if "step" in line]),
    )


def read_runs(folder: Path) -> list[Finished]:
    """All runs of a folder that are done, in the order of their names."""
    found = [read_run(path) for path in sorted(folder.glob("*.jsonl"))]
    return [each for each in found if each is not None]


@dataclass(frozen=True)
class Difference:
    """Mean of ours minus theirs, with its 95 % interval; `num_seeds` that both have."""

    mean: float
    low: float
    high: float
    num_seeds: int


def paired(ours: Sequence[Finished], theirs: Sequence[Finished], metric: str, *, seed: int = 0) -> Difference:
    """Difference of a metric at the end, paired by seed and problem; bootstrap over both.

    With one seed the interval is over problems alone, and says nothing about another training.

    Raises:
        ConfigError: no seed is in both, or their problems differ.

    """
    mine, other = ({run.seed: run for run in runs} for runs in (ours, theirs))
    seeds = sorted(mine.keys() & other.keys())
    if not seeds:
        raise ConfigError("expected runs of both arms with a seed in common")
    if len({run.problems[metric].size for runs in (mine, other) for run in runs.values()}) != 1:
        raise ConfigError("expected runs that were evaluated on the same problems at the end")
    gap_SN = np.array([mine[each].problems[metric] - other[each].problems[metric] for each in seeds])
    rng = np.random.default_rng(seed)
    seed_RS = rng.integers(len(seeds), size=(NUM_RESAMPLES, len(seeds)))
    problem_RN = rng.integers(gap_SN.shape[1], size=(NUM_RESAMPLES, gap_SN.shape[1]))
    sample_R = np.array([_mean(gap_SN[of][:, on]) for of, on in zip(seed_RS, problem_RN, strict=True)])
    low, high = np.quantile(sample_R, [0.025, 0.975])
    return Difference(_mean(gap_SN), float(low), float(high), len(seeds))


def trained(ours: Sequence[Finished], theirs: Sequence[Finished], first: int) -> Difference:
    """Difference of mean outcomes in training from step `first` on, paired by seed; Student's interval over seeds.

    Both see the same problems at each step, of which there are as many in all runs.

    Raises:
        ConfigError: fewer than two seeds are in both, or they took other numbers of steps.

    """
    mine, other = ({run.seed: run.outcomes for run in runs} for runs in (ours, theirs))
    seeds = sorted(mine.keys() & other.keys())
    if len(seeds) < 2:
        raise ConfigError("expected runs of both arms with two seeds in common at least")
    if len({each[seed].size for seed in seeds for each in (mine, other)}) != 1:
        raise ConfigError("expected runs of as many steps")
    gap_S = np.array([(mine[seed] - other[seed])[first - 1 :].mean() for seed in seeds])
    half = STUDENT[min(len(seeds) - 1, len(STUDENT)) - 1] * float(gap_S.std(ddof=1)) / math.sqrt(len(seeds))
    return Difference(float(gap_S.mean()), float(gap_S.mean()) - half, float(gap_S.mean()) + half, len(seeds))


def _mean(gap_SN: Floats) -> float:
    known = gap_SN[np.isfinite(gap_SN)]
    return float(known.mean()) if known.size else math.nan


@dataclass(frozen=True)
class Reached:
    """When a run first was at or below a regret: at which step, and after how many training tokens. None: never."""

    step: float | None
    training_tokens: float | None


def first_at(runs: Sequence[Finished], regret: float) -> Reached:
    """When the mean curve over seeds first comes down to a regret, in lines between evaluations."""
    steps = [point.step for point in runs[0].points]
    mean_E = np.mean([[point.mean["regret"] for point in run.points] for run in runs], axis=0)
    tokens_E = np.mean([[point.training_tokens for point in run.points] for run in runs], axis=0)
    for place, (before, after) in enumerate(pairwise(mean_E.tolist())):
        if before <= regret:
            return Reached(float(steps[place]), float(tokens_E[place]))
        if after <= regret:
            share = (before - regret) / (before - after)
            step = steps[place] + share * (steps[place + 1] - steps[place])
            return Reached(float(step), float(tokens_E[place] + share * (tokens_E[place + 1] - tokens_E[place])))
    return Reached(None, None)


def tokens_per_right(runs: Sequence[Finished]) -> float:
    """Tokens spent for each right answer at the end; infinite where none is right."""
    right = float(np.mean([run.final.mean["right"] for run in runs]))
    return float(np.mean([run.final.mean["tokens"] for run in runs])) / right if right else math.inf


def grouped(runs: Sequence[Finished]) -> dict[tuple[str, str, str], list[Finished]]:
    """Runs by regime, arm and values."""
    groups: dict[tuple[str, str, str], list[Finished]] = {}
    for run in runs:
        groups.setdefault((run.regime, run.arm, run.values), []).append(run)
    return groups
