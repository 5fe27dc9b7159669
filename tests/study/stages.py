"""Which runs a stage is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mrt_reward.errors import ConfigError
from mrt_reward.mini.charts import REGIMES
from tests.study.arms import AGAINST, AGAINST_WARM, ARMS, ELSEWHERE, QUICK, arm_of
from tests.study.evaluating import BETWEEN, FINAL, Size
from tests.study.runs import RunSpec
from tests.study.values import ValueSpec


@dataclass(frozen=True)
class Stage:
    """A set of runs.

    Attributes:
        arms: by name.
        seeds: of each arm; all arms see the same problems of a seed.
        regimes: by name.
        num_steps: optimiser steps of a run.
        every: steps between evaluations.
        final: how much is evaluated at the end of a run.
        warmup_steps: until the learning rate is reached.
        decay: whether it then falls to 0.

    """

    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    regimes: tuple[str, ...]
    num_steps: int
    every: int
    final: Size = FINAL
    warmup_steps: int = 0
    decay: bool = False


STAGES = {
    "quick": Stage(QUICK, (0, 1), ("deep",), 12, 4, Size(64, 4)),
    "early": Stage(("outcome", "rate-16", "scalar"), (10, 11, 12, 13, 14), ("deep",), 12, 6, Size(128, 4)),
    "tuning": Stage(("outcome", "rate-16"), (10, 11), ("deep",), 12, 6, Size(128, 4)),
    "lasting": Stage(
        ("rate-4", "rate-4-ending", "rate-16-ending"), (20, 11, 12), ("deep",), 30, 10, Size(64, 4), warmup_steps=5
    ),
    "one": Stage(tuple(ARMS), (0, 1), ("deep",), 24, 8, Size(128, 4)),
    "two": Stage(("rate-16", *AGAINST), (20, 21, 22, 23, 24), ("deep",), 40, 10, warmup_steps=5),
    "three": Stage(("rate-16-ending", *AGAINST), (30, 31, 32, 33, 34), ("deep",), 40, 10, warmup_steps=5),
    "four": Stage(
        ("rate-16-ending", *AGAINST_WARM), (40, 41, 42, 43, 44), ("deep",), 40, 10, warmup_steps=5, decay=True
    ),
    "sooner": Stage(("rate-16-ending", "outcome"), (40, 41, 42, 43), ("deep",), 26, 13, warmup_steps=5, decay=True),
    "long": Stage(ELSEWHERE, (60, 61), ("long",), 30, 10, Size(128, 4), warmup_steps=5, decay=True),
    "short": Stage(ELSEWHERE, (60, 61), ("short",), 30, 10, Size(128, 4), warmup_steps=5, decay=True),
}
"""`quick` takes the least, `early` asks who is faster at the start, on seeds of its own, `tuning` is the same with
other learning rates and a warm-up, and `lasting` asks what keeps a policy that is paid for progress closing its
thinking.

`one` compares all arms, on seeds that decide nothing. `two` and `three` were registered and ended at their first seeds;
`four` is registered in their place, and `long` and `short` ask the same where problems are easier. `sooner` asks what
two thirds of the steps of `four` come to.
"""


def specs(
    stage: Stage,
    policy: Path,
    values: ValueSpec,
    *,
    arms: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    **changed: Any,
) -> list[RunSpec]:
    """Runs of a stage, seed after seed, so that what is finished first can be compared.

    Args:
        stage: which.
        policy: model folder that is trained.
        values: where the values of prefixes come from.
        arms: instead of the stage's own.
        seeds: instead of the stage's own.
        changed: other fields of `RunSpec`, such as the learning rate.

    Raises:
        ConfigError: an arm is unknown.

    """
    chosen = [arm_of(name).name for name in arms or stage.arms]
    return [
        RunSpec(
            arm,
            regime,
            seed,
            stage.num_steps,
            stage.every,
            values,
            policy,
            between=BETWEEN,
            final=stage.final,
            **{**_rates(stage), **changed},
        )
        for regime in stage.regimes
        for seed in seeds or stage.seeds
        for arm in chosen
    ]


def _rates(stage: Stage) -> dict[str, Any]:
    return {"warmup_steps": stage.warmup_steps, "decay": stage.decay}


def stage_of(name: str) -> Stage:
    """The stage of that name.

    Raises:
        ConfigError: there is none.

    """
    if name not in STAGES:
        raise ConfigError(f"there is no stage {name!r}; there are {', '.join(STAGES)}", param="stage")
    assert all(regime in REGIMES for regime in STAGES[name].regimes)
    return STAGES[name]
