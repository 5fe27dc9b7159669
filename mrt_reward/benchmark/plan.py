"""What to measure, and the loop that measures it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, get_args

from annotated_types import Ge, Le

from mrt_reward.benchmark.processes import measured
from mrt_reward.benchmark.results import BenchResults
from mrt_reward.benchmark.rows import Done, Way
from mrt_reward.benchmark.workload import Work, WorkSpec
from mrt_reward.options import MAX_SAMPLES, Estimator, EstimatorName, Likelihood, Rollouts
from mrt_reward.ranges import check_ranges, option

SIZES = (100, 1000, 10_000)
"""Prefixes, where growth is asked for."""

WARM_UP = 99
"""Number of the work that comes first and is not counted."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What to measure.

    Attributes:
        spec: how much work.
        estimators: which estimators of values to measure.
        sizes: also measure likelihoods of about this many prefixes each.

    Costs of all rounds are added up; the authors' shape, peer (b), runs on the first problem alone.

    Raises:
        ValueError: a field is outside its range.

    """

    spec: WorkSpec = field(default_factory=WorkSpec)
    rounds: Annotated[int, Ge(1), Le(20)] = option(1, "Rounds, each on traces of its own.")
    estimators: tuple[EstimatorName, ...] = get_args(EstimatorName)
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
        match name:
            case "likelihood":
                return Likelihood()
            case "rollouts":
                return Rollouts("rollouts", num_samples=self.num_samples, max_tokens=self.answer_tokens)


@dataclass(frozen=True, slots=True)
class Targets:
    """Where to measure; with a URL, nowhere else."""

    in_process: bool = option(True, "Measure in this process, beside one full forward.")
    server: bool = option(True, "Measure through our server, on loopback.")
    peers: bool = option(False, "Measure plain ways on vLLM's own server; needs vLLM.")
    url: str | None = option(None, "Measure only the mrt-reward server that runs at this URL.")


@dataclass(frozen=True, slots=True)
class WorkFigures:
    """What a way of doing some work tells about it, besides its answers.

    Attributes:
        computed_tokens: run through the network; None where the engine does not report it.
        decoded_tokens: tokens of sampled answers that had to be run, all but the last of each.
        answer_tokens: mean length of a sampled answer.

    """

    computed_tokens: int | None = None
    decoded_tokens: int | None = 0
    answer_tokens: float | None = None


RunWork = Callable[[Work], Awaitable[WorkFigures]]
"""Does some work."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the table to be.

    Attributes:
        way: what is measured.
        works: one a round.
        run: does the work.
        warm_up: work that comes before, and is not counted.
        elsewhere: what proves is not below this process.

    """

    way: Way
    works: Sequence[Work]
    run: RunWork
    warm_up: Work | None = None
    elsewhere: bool = False


async def measure(measurements: Sequence[Measurement], results: BenchResults) -> None:
    """Measure; rounds of all take turns, so that a noisy minute harms them alike.

    A way that fails is left out from then on, and the others go on.
    """
    for one in measurements:
        if one.warm_up is not None:
            with results.surviving(one.way):
                await one.run(one.warm_up)
    for turn in range(max((len(one.works) for one in measurements), default=0)):
        for one in measurements:
            if turn < len(one.works) and not results.has_failed(one.way):
                results.tell(f"{one.way.engine}, {one.way.place}: {one.way.name}")
                with results.surviving(one.way):
                    await _round(one, one.works[turn], results)


async def _round(one: Measurement, work: Work, results: BenchResults) -> None:
    prefixes, needed = work.num_prefixes, work.needed_tokens
    with measured() as cost:
        figures_of = await one.run(work)
    all_needed = None if figures_of.decoded_tokens is None else needed + figures_of.decoded_tokens
    done = Done(prefixes, figures_of.computed_tokens, all_needed, figures_of.answer_tokens)
    results.add(one.way, done, cost, elsewhere=one.elsewhere)
