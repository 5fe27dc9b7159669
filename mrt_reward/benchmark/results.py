"""What was measured so far: a row is there as soon as one of its rounds is done, and a failure takes none away."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from mrt_reward.benchmark.processes import Cost
from mrt_reward.benchmark.rows import BenchRow, Done, Failed, Way, record, row, total, why_of


@dataclass
class _Rounds:
    """The rounds of one way, added up."""

    done: Done
    costs: list[Cost]
    elsewhere: bool


@dataclass
class BenchResults:
    """Rows and failures of a benchmark, in the order in which their ways began.

    Attributes:
        tell: called with what is being measured, at the start of each.
        changed: called after each round and each failure, with these results.
        failures: of ways that could not be measured, or not any further.
        latest: what the last change was, for people.

    """

    tell: Callable[[str], None] = lambda _: None
    changed: Callable[[BenchResults], None] = lambda _: None
    failures: list[Failed] = field(default_factory=list[Failed])
    latest: str = ""
    _rounds: dict[Way, _Rounds] = field(default_factory=dict[Way, _Rounds])

    @property
    def rows(self) -> list[BenchRow]:
        """What was measured; rounds are added up."""
        return [
            row(way, rounds.done, total(rounds.costs), elsewhere=rounds.elsewhere)
            for way, rounds in self._rounds.items()
        ]

    def add(self, way: Way, done: Done, cost: Cost, *, elsewhere: bool = False) -> None:
        """One round is done."""
        rounds = self._rounds.get(way)
        if rounds is None:
            self._rounds[way] = _Rounds(done, [cost], elsewhere)
        else:
            rounds.done = rounds.done.plus(done)
            rounds.costs.append(cost)
        self._report_change(way, f"{done.prefixes:,} prefixes in {cost.wall_s:.1f} s")

    @contextmanager
    def surviving(self, way: Way) -> Generator[None]:
        """Write down what is raised inside as the failure of this way, and go on after it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - written down, and the exit status tells of it
            self.failures.append(Failed(way, why_of(error)))
            self._report_change(way, f"failed: {why_of(error)}")

    def has_failed(self, way: Way) -> bool:
        """Whether a failure of this way is written down."""
        return any(failed.way == way for failed in self.failures)

    def records(self) -> list[Mapping[str, object]]:
        """Rows for JSON, and then the failures: the fields of their way, and `failed`, which says why."""
        rows = self.rows
        return [record(one, rows) for one in rows] + [{**asdict(one.way), "failed": one.why} for one in self.failures]

    def _report_change(self, way: Way, what: str) -> None:
        self.latest = f"{way.kind}, {way.engine}, {way.place}: {way.name}: {what}"
        self.changed(self)
