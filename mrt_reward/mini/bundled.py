"""The models that come with this package, and the problems that each is for. Importing this loads no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.charts import DEEP, sample_charted_problems
from mrt_reward.mini.island import Problem, sample_problems

BundledName = Literal["mini", "mini-deep"]


@dataclass(frozen=True)
class Bars:
    """What a bundled model has to fulfil; shares and values are in [0, 1].

    Attributes:
        accuracy: least and most, at the policy's budget.
        waste: least and most, of episodes that reveal nothing.
        episodes: least median of a trace; None where that is no point.
        between: least share of prefixes worth more than 0.1 and less than 0.9; among many candidates, few are.
        chance_gap: most, between the mean value before any thinking and chance.
        index_ratio: most, of the values' error to that of the best predictor that sees the episode's index alone; None
            where the index tells nearly all, so that there is nothing to beat.
        folder_mb: most, of the folder.

    """

    accuracy: tuple[float, float]
    waste: tuple[float, float]
    episodes: int | None
    between: float
    chance_gap: float
    index_ratio: float | None
    folder_mb: float


@dataclass(frozen=True)
class Bundled:
    """A bundled model.

    Attributes:
        name: `--model` takes it, where there is no folder of that name.
        folder: its files.
        budget_tokens: of a completion of the policy, answer included; its accuracy there leaves something to learn.
        sample: draws problems: how many, and the seed.
        problems: what they are, for the model card.
        bars: what it has to fulfil on them.

    """

    name: BundledName
    folder: Path
    budget_tokens: int
    sample: Callable[[int, int], list[Problem]]
    problems: str
    bars: Bars


MINI = Bundled(
    "mini",
    MODEL_DIR,
    180,
    sample_problems,
    "A fixed island map, which is never printed. A question lists 2 to 5 places and asks which of them leads to an "
    "exit after 3 to 5 steps.",
    Bars((0.4, 0.8), (0.25, 0.6), episodes=None, between=0.3, chance_gap=0.05, index_ratio=0.25, folder_mb=8.0),
)
MINI_DEEP = Bundled(
    "mini-deep",
    MODEL_DIR.with_name("mini-deep"),
    DEEP.budget_tokens,
    partial(sample_charted_problems, regime=DEEP),
    "Every problem prints a map of its own, so that no training makes the search needless. A question lists 12 to 16 "
    "places (3 to 16 in training) and asks which of them leads to an exit after 2 or 3 steps.",
    Bars((0.1, 0.4), (0.3, 0.7), episodes=5, between=0.1, chance_gap=0.02, index_ratio=0.25, folder_mb=4.0),
)
BUNDLED: dict[str, Bundled] = {model.name: model for model in (MINI, MINI_DEEP)}
