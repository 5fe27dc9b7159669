"""The models that come with this package, and the problems that each is for. Importing this loads no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.charts import DEEP, sample_charted_problems
from mrt_reward.mini.island import Problem, parse_problem, sample_problems

BundledName = Literal["mini", "mini-deep"]


@dataclass(frozen=True)
class Bars:
    """What one bundled model has to fulfil; what holds for all stands in `card`.

    Attributes:
        accuracy: least and most, at the policy's budget, in [0, 1].
        episodes: least median of a trace; None where that is no point.
        chance_gap: most, between the mean value before any thinking and chance.
        folder_mb: most, of the folder.

    """

    accuracy: tuple[float, float]
    episodes: int | None
    chance_gap: float
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
        caveat: on bars that it misses, for the model card.

    """

    name: BundledName
    folder: Path
    budget_tokens: int
    sample: Callable[[int, int], list[Problem]]
    problems: str
    bars: Bars
    caveat: str = ""


MINI = Bundled(
    "mini",
    MODEL_DIR,
    180,
    sample_problems,
    "A fixed island map, which is never printed. A question lists 2 to 5 places and asks which of them leads to an "
    "exit after 3 to 5 steps.",
    Bars((0.4, 0.8), episodes=None, chance_gap=0.05, folder_mb=8.0),
)
MINI_DEEP = Bundled(
    "mini-deep",
    MODEL_DIR.with_name("mini-deep"),
    DEEP.budget_tokens,
    partial(sample_charted_problems, regime=DEEP),
    "Every problem prints a map of its own, so that no training makes the search needless. A question lists 12 to 16 "
    "places (3 to 16 in training) and asks which of them leads to an exit after 2 or 3 steps.",
    Bars((0.1, 0.4), episodes=5, chance_gap=0.02, folder_mb=4.0),
    "Two bars are missed. Among 12 to 16 places J_revealed stays near chance until most are ruled out: few prefixes "
    "lie between 0.1 and 0.9, and these so close together that the number of episodes alone tells them better than "
    "values do whose error is small everywhere.",
)
BUNDLED: dict[str, Bundled] = {model.name: model for model in (MINI, MINI_DEEP)}


def is_foreign(prover: str | None, problem: str) -> bool:
    """Whether a bundled model proved a problem that is none of its own: the values then mean nothing.

    Args:
        prover: that gave the values, as `name@version`.
        problem: its text, or a prompt that holds it.

    """
    if (prover or "").partition("@")[0] not in BUNDLED:
        return False
    try:
        parse_problem(problem)
    except ValueError:
        return True
    return False
