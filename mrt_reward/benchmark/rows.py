"""What was measured, one record a line of the table, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from mrt_reward.benchmark.processes import Cost

Kind = Literal["forward", "ours", "peer"]
Place = Literal["in process", "server"]


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One way of doing some work.

    Attributes:
        kind: one full forward, ours, or a peer.
        name: what distinguishes it from others of its kind.
        place: in this process, or over HTTP on loopback from a server of its own.
        engine: that ran the model.
        estimator: what the work comes to: "likelihood", "rollouts", or "free answers".
        prefixes: different terminated prefixes that were answered.
        wall_s: time that passed, in seconds.
        cpu_s: CPU-seconds of all processes, callers included; None where they cannot be seen (a server elsewhere).
        caller_cpu_s: of them, this process's own: over HTTP, the caller's.
        computed_tokens: run through the network; None where the engine does not report it.
        needed_tokens: to run where no beginning is computed twice, sampled answers included.
        peak_mb: highest resident memory of the processes that prove, in megabytes.
        answer_tokens: mean length of a sampled answer; None where none is.

    """

    kind: Kind
    name: str
    place: Place
    engine: str
    estimator: str
    prefixes: int
    wall_s: float
    cpu_s: float | None
    caller_cpu_s: float
    computed_tokens: int | None
    needed_tokens: int | None
    peak_mb: float | None
    answer_tokens: float | None = None

    @property
    def prefixes_per_cpu_s(self) -> float | None:
        """Prefixes per CPU-second."""
        return self.prefixes / self.cpu_s if self.cpu_s else None

    @property
    def prefixes_per_s(self) -> float:
        """Prefixes per second of wall-clock time."""
        return self.prefixes / self.wall_s if self.wall_s else 0.0

    @property
    def computed_to_needed(self) -> float | None:
        """Tokens computed over tokens needed; 1 where nothing is computed twice."""
        if self.computed_tokens is None or not self.needed_tokens:
            return None
        return self.computed_tokens / self.needed_tokens


@dataclass(frozen=True, slots=True)
class Done:
    """What some work came to, besides its cost; see `BenchRow`."""

    prefixes: int
    computed_tokens: int | None
    needed_tokens: int | None
    answer_tokens: float | None = None

    def plus(self, other: Done) -> Done:
        """Both; the answers' length is the later one's."""
        return Done(
            self.prefixes + other.prefixes,
            _sum(self.computed_tokens, other.computed_tokens),
            _sum(self.needed_tokens, other.needed_tokens),
            other.answer_tokens,
        )


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


@dataclass(frozen=True, slots=True)
class Way:
    """Which way of doing the work; see `BenchRow`."""

    kind: Kind
    name: str
    place: Place
    engine: str
    estimator: str


def row(way: Way, done: Done, cost: Cost, *, elsewhere: bool = False) -> BenchRow:
    """One line.

    Args:
        way: what was measured.
        done: what it came to.
        cost: of all rounds.
        elsewhere: the server is not below this process, so that its CPU and memory are not seen.

    """
    served = cost.children_peak_mb if way.place == "server" else cost.own_peak_mb + cost.children_peak_mb
    return BenchRow(
        way.kind,
        way.name,
        way.place,
        way.engine,
        way.estimator,
        done.prefixes,
        cost.wall_s,
        None if elsewhere else cost.cpu_s,
        cost.own_cpu_s,
        done.computed_tokens,
        done.needed_tokens,
        None if elsewhere else served,
        done.answer_tokens,
    )


@dataclass(frozen=True, slots=True)
class Failed:
    """A way that could not be measured, or not any further.

    Attributes:
        way: what was measured.
        why: the failure, as a sentence.

    """

    way: Way
    why: str


def why_of(error: BaseException) -> str:
    """What an exception says; some say nothing but their name."""
    return str(error).strip() or type(error).__name__


def total(costs: Sequence[Cost]) -> Cost:
    """Costs of rounds added up; memory is the highest of them."""
    return Cost(
        sum(cost.wall_s for cost in costs),
        sum(cost.own_cpu_s for cost in costs),
        sum(cost.children_cpu_s for cost in costs),
        max(cost.own_peak_mb for cost in costs),
        max(cost.children_peak_mb for cost in costs),
    )


def speed_ratio(one: BenchRow, other: BenchRow) -> float | None:
    """How many times as many prefixes per CPU-second as the other; per second where CPU time is not seen."""
    first, second = one.prefixes_per_cpu_s, other.prefixes_per_cpu_s
    if first is None or second is None:
        return None
    return first / second


def forward_of(one: BenchRow, rows: Iterable[BenchRow]) -> BenchRow | None:
    """The full forward for a row: of its own engine and estimator; None where that was not measured."""
    mine = (one.engine, one.estimator)
    return next((row for row in rows if row.kind == "forward" and (row.engine, row.estimator) == mine), None)


def record(one: BenchRow, rows: Sequence[BenchRow]) -> Mapping[str, object]:
    """A row for JSON, with what follows from it."""
    forward = forward_of(one, rows)
    return {
        **asdict(one),
        "prefixes_per_s": one.prefixes_per_s,
        "prefixes_per_cpu_s": one.prefixes_per_cpu_s,
        "ratio_to_forward": None if forward is None else speed_ratio(one, forward),
        "computed_to_needed": one.computed_to_needed,
    }
