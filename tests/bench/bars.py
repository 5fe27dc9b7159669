"""The numbers to reach, checked on measured rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrt_reward.benchmark.rows import BenchRow, Failed, Way, speed_ratio

Rows = Sequence[BenchRow]


@dataclass(frozen=True)
class Bar:
    """One number to reach.

    Attributes:
        name: what it is about.
        value: measured; None where it was not.
        target: to reach.
        at_least: whether more is better.

    """

    name: str
    value: float | None
    target: float
    at_least: bool = True

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def found(rows: Rows, name: str, place: str, kind: str = "ours", ending: str = "") -> BenchRow | None:
    """The first row of a kind and place whose name begins and ends so."""
    mine = (row for row in rows if (row.kind, row.place) == (kind, place))
    return next((row for row in mine if row.name.startswith(name) and row.name.endswith(ending)), None)


def ratio(rows: Rows, one: tuple[str, str], other: tuple[str, str], other_kind: str = "ours") -> float | None:
    first, second = found(rows, *one), found(rows, *other, kind=other_kind)
    return None if first is None or second is None else speed_ratio(first, second)


MIN_OF_FORWARD = {"mini": 0.80, "60M": 0.85}
MIN_OF_FORWARD_SAMPLED = {"mini": 0.80}
PEERS = {"(a)": 1.8, "(c)": 1.3, "(d)": 8.0}
PEERS_SET_UP = "our executor"
"""vLLM's defaults are reported: what they cost on a CPU is their processes."""


def bars(model: str, engine: str, rows: Rows) -> list[Bar]:
    """All bars of one model on one engine."""
    here, served = ("likelihood", "in process"), ("likelihood", "server")
    what = f"{model}, {engine}"
    checks = [
        Bar(
            f"{what}: likelihood in process / one full forward",
            ratio(rows, here, here, "forward"),
            MIN_OF_FORWARD[model],
        ),
        Bar(f"{what}: likelihood through our server / in process", ratio(rows, served, here), 0.85),
    ]
    sampled = ("rollouts", "in process")
    if model in MIN_OF_FORWARD_SAMPLED:
        value = ratio(rows, sampled, sampled, "forward")
        checks.append(Bar(f"{what}: rollouts in process / one full forward", value, MIN_OF_FORWARD_SAMPLED[model]))
    if engine == "vllm" and model == "mini":
        ours = found(rows, *served)
        for peer, target in PEERS.items():
            other = found(rows, peer, "server", "peer", PEERS_SET_UP)
            value = None if ours is None or other is None else speed_ratio(ours, other)
            checks.append(Bar(f"{what}: likelihood through our server / {peer}, {PEERS_SET_UP}", value, target))
    for one in rows:
        if one.kind == "ours" and one.computed_to_needed is not None:
            name = f"{what}: computed / needed, {one.name}, {one.place}"
            checks.append(Bar(name, one.computed_to_needed, 1.25, at_least=False))
    return checks + growth(what, rows)


def growth(what: str, rows: Rows) -> list[Bar]:
    """Cost of a prefix at each size over its cost at the first, and memory of the server."""
    checks: list[Bar] = []
    for place in ("in process", "server"):
        sized = [row for row in rows if row.name.startswith("likelihood of ") and row.place == place]
        costs = [row.cpu_s / row.prefixes for row in sized if row.cpu_s]
        if costs:
            name = f"{what}: most / least CPU-s of a prefix, {sized[0].prefixes:,} to {sized[-1].prefixes:,}, {place}"
            checks.append(Bar(name, max(costs) / min(costs), 1.2, at_least=False))
    return checks


def as_rows(records: Sequence[Mapping[str, object]]) -> list[BenchRow]:
    """Rows from the JSON that `mrt-reward bench` wrote; failures are not among them."""
    fields = BenchRow.__dataclass_fields__
    measured = (one for one in records if "failed" not in one)
    return [BenchRow(**{name: value for name, value in one.items() if name in fields}) for one in measured]  # type: ignore[arg-type]


def as_failures(records: Sequence[Mapping[str, object]]) -> list[Failed]:
    """What failed, from the same JSON."""
    fields = Way.__dataclass_fields__
    failed = (one for one in records if "failed" in one)
    return [Failed(Way(**{name: one[name] for name in fields}), str(one["failed"])) for one in failed]  # type: ignore[arg-type]
