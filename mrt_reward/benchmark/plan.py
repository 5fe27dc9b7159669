"""What to measure, and the loop that measures it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mrt_reward.benchmark.processes import Cost, measured
from mrt_reward.benchmark.rows import Done, Row, Way, row, total
from mrt_reward.benchmark.workload import Work, WorkSpec
from mrt_reward.options import Estimator, Likelihood, Rollouts

EstimatorName = Literal["likelihood", "rollouts"]

SIZES = (100, 1000, 10_000)
"""Prefixes, where growth is asked for."""

WARM_UP = 99
"""Place of the work that comes first and is not counted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        spec: how much work.
        rounds: each on work of its own; costs are added up.
        estimators: of values.
        num_samples: M, answers per prefix, for rollouts.
        answer_tokens: longest sampled answer in tokens.
        free_tokens: longest free-form answer in tokens, for the authors' shape.
        slow_problems: what takes long (rollouts, prompt log-probabilities, one proof a prefix) runs on this many of the
            problems; the authors' shape runs on the first alone.
        sizes: also measure likelihoods of about this many prefixes each.

    """

    spec: WorkSpec = field(default_factory=WorkSpec)
    rounds: int = 1
    estimators: tuple[EstimatorName, ...] = ("likelihood", "rollouts")
    num_samples: int = 8
    answer_tokens: int = 16
    free_tokens: int = 256
    slow_problems: int | None = None
    sizes: tuple[int, ...] = ()

    def estimator(self, name: EstimatorName) -> Estimator:
        """As a caller asks for it."""
        if name == "likelihood":
            return Likelihood()
        return Rollouts("rollouts", num_samples=self.num_samples, max_tokens=self.answer_tokens)


@dataclass(frozen=True, slots=True)
class Told:
    """What a way of doing some work tells about it, besides its answers.

    Attributes:
        computed_tokens: run through the network; None where it is not told.
        decoded_tokens: tokens of sampled answers that had to be run, all but the last of each.
        answer_tokens: mean length of a sampled answer.

    """

    computed_tokens: int | None = None
    decoded_tokens: int | None = 0
    answer_tokens: float | None = None


Run = Callable[[Work], Awaitable[Told]]
"""Does some work."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table to be.

    Attributes:
        way: which.
        works: one a round.
        run: does the work.
        elsewhere: what proves is not below this process.

    """

    way: Way
    works: Sequence[Work]
    run: Run
    elsewhere: bool = False


Tell = Callable[[str], None]
"""Called with what is being measured, at the start of each."""


async def measure(measurements: Sequence[Measurement], tell: Tell) -> list[Row]:
    """Rows in the order of the measurements; rounds of all take turns, so that a noisy minute harms them alike."""
    costs: list[list[Cost]] = [[] for _ in measurements]
    done: list[Done | None] = [None for _ in measurements]
    for turn in range(max((len(one.works) for one in measurements), default=0)):
        for place, one in enumerate(measurements):
            if turn >= len(one.works):
                continue
            tell(f"{one.way.engine}, {one.way.place}: {one.way.name}")
            work = one.works[turn]
            prefixes, needed = work.num_prefixes, work.needed_tokens
            with measured() as cost:
                told = await one.run(work)
            costs[place].append(cost)
            all_needed = None if told.decoded_tokens is None else needed + told.decoded_tokens
            this = Done(prefixes, told.computed_tokens, all_needed, told.answer_tokens)
            before = done[place]
            done[place] = this if before is None else before.plus(this)
    return [
        row(one.way, came, total(spent), elsewhere=one.elsewhere)
        for one, came, spent in zip(measurements, done, costs, strict=True)
        if came is not None
    ]
