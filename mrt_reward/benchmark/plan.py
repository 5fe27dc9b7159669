"""What to measure, and the loop that measures it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Le

from mrt_reward.benchmark.processes import Cost, measured
from mrt_reward.benchmark.rows import Done, Row, Way, row, total
from mrt_reward.benchmark.workload import Work, WorkSpec
from mrt_reward.options import MAX_SAMPLES, Estimator, Likelihood, Rollouts
from mrt_reward.ranges import check_ranges, option

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
        estimators: of values.
        sizes: also measure likelihoods of about this many prefixes each.

    Costs of all rounds are added up; the authors' shape, peer (b), runs on the first problem alone.

    Raises:
        ValueError: a field is outside its range.

    """

    spec: WorkSpec = field(default_factory=WorkSpec)
    rounds: Annotated[int, Ge(1), Le(20)] = option(1, "Rounds, each on traces of its own.")
    estimators: tuple[EstimatorName, ...] = ("likelihood", "rollouts")
    num_samples: Annotated[int, Ge(1), Le(MAX_SAMPLES)] = option(8, "Rollouts: answers a prefix.")
    answer_tokens: Annotated[int, Ge(1)] = option(16, "Rollouts: longest answer, in tokens.")
    free_tokens: Annotated[int, Ge(1)] = option(256, "Peer (b): longest free-form answer, in tokens.")
    slow_problems: Annotated[int, Ge(1)] = option(
        4, "Rollouts, prompt log-probabilities, one proof a prefix: problems at most."
    )
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_ranges(self)

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
