"""The rows as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from mrt_reward.benchmark.rows import Row, bound_of, speed_ratio

COLUMNS = ("way", "prefixes", "wall s", "CPU-s", "per CPU-s", "of bound", "computed", "peak MB", "answer")

LEGEND = (
    "per CPU-s: prefixes per CPU-second of all processes, the caller included. of bound: that, over the bound's. "
    "computed: tokens computed / tokens needed. answer: mean length of sampled answers, in tokens."
)

WIDTH = 132
"""Characters, where the output is no terminal."""


def table(rows: Sequence[Row], title: str) -> Table:
    """All rows; `--` where a figure cannot be had."""
    shown = Table(title=title, title_justify="left", caption=LEGEND, caption_justify="left")
    for place, column in enumerate(COLUMNS):
        shown.add_column(column, justify="right" if place else "left", no_wrap=bool(place), overflow="fold")
    for one in rows:
        shown.add_row(*cells(one, rows), style={"ours": "bold", "bound": "dim", "peer": ""}[one.kind])
    return shown


def cells(one: Row, rows: Sequence[Row]) -> list[str]:
    """One line, in the order of `COLUMNS`."""
    bound = bound_of(one, rows)
    return [
        f"{one.kind}, {one.engine}, {one.place}: {one.name}",
        f"{one.prefixes:,}",
        f"{one.wall_s:.1f}",
        _told(one.cpu_s, ".1f"),
        _told(one.prefixes_per_cpu_s, ".2f"),
        _told(None if bound is None else speed_ratio(one, bound), ".2f"),
        _told(one.computed_to_needed, ".3f"),
        _told(one.peak_mb, ".0f"),
        _told(one.answer_tokens, ".1f"),
    ]


def show(rows: Sequence[Row], title: str) -> None:
    """Print the table to stdout; what is no terminal gets room for whole lines."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table(rows, title))


def _told(value: float | None, shape: str) -> str:
    return "--" if value is None else format(value, shape)
