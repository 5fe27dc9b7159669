"""The rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mrt_reward.benchmark.rows import BenchRow, Failed, Way, forward_of, speed_ratio

COLUMNS = ("way", "prefixes", "wall s", "CPU-s", "per CPU-s", "of forward", "computed", "peak MB", "answer")

LEGEND = (
    "per CPU-s: prefixes per CPU-second of all processes, the caller included. of forward: that, over the "
    "row of one full forward over the unique tokens, and for rollouts of decoding; it may be above 1. "
    "computed: tokens computed / tokens needed. answer: mean length of sampled answers, in tokens."
)

WIDTH = 132
"""Characters, where the output is no terminal."""


def table(rows: Sequence[BenchRow], failures: Sequence[Failed], title: str) -> Table:
    """All rows, `--` where a figure is missing, and then what failed."""
    shown = Table(title=title, title_justify="left", caption=LEGEND, caption_justify="left")
    for index, column in enumerate(COLUMNS):
        shown.add_column(column, justify="right" if index else "left", no_wrap=bool(index), overflow="fold")
    for one in rows:
        shown.add_row(*cells(one, rows), style={"ours": "bold", "forward": "dim", "peer": ""}[one.kind])
    for one in failures:
        shown.add_row(named(one.way), "failed", *["--"] * (len(COLUMNS) - 2), style="red")
    return shown


def named(one: BenchRow | Way) -> str:
    """Kind, engine and name, as the first column shows them."""
    return f"{one.kind}, {one.engine}, {one.place}: {one.name}"


def cells(one: BenchRow, rows: Sequence[BenchRow]) -> list[str]:
    """One line, in the order of `COLUMNS`."""
    forward = forward_of(one, rows)
    return [
        named(one),
        f"{one.prefixes:,}",
        f"{one.wall_s:.1f}",
        _shown(one.cpu_s, ".1f"),
        _shown(one.prefixes_per_cpu_s, ".2f"),
        _shown(None if forward is None else speed_ratio(one, forward), ".2f"),
        _shown(one.computed_to_needed, ".3f"),
        _shown(one.peak_mb, ".0f"),
        _shown(one.answer_tokens, ".1f"),
    ]


def show(rows: Sequence[BenchRow], failures: Sequence[Failed], title: str) -> None:
    """Print the table to stdout; what is no terminal gets room for whole lines."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table(rows, failures, title))
    for one in failures:
        console.print(
            f"failed: {named(one.way)}: {one.why}", style="red", markup=False, highlight=False, soft_wrap=True
        )


def _shown(value: float | None, shape: str) -> str:
    return "--" if value is None else format(value, shape)
