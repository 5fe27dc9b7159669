"""Tables in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

_HEAD_WIDTH = 14


def show_table(console: Console, title: str, what: str, rows: Mapping[str, Mapping[str, str]]) -> None:
    """Print a row for each name, or a list for each where the terminal is too narrow: no cell is ever cut.

    Args:
        console: where to.
        title: of the table.
        what: heads the names.
        rows: cells of each name by what heads their column, the same of all names.

    """
    table = Table(title=title, title_justify="left")
    heads = list(dict.fromkeys(head for cells in rows.values() for head in cells))
    table.add_column(what, no_wrap=True)
    for head in heads:
        table.add_column("\n".join(textwrap.wrap(head, _HEAD_WIDTH)), justify="right", no_wrap=True)
    for name, cells in rows.items():
        table.add_row(Text(name), *(Text(cells[head]) for head in heads))
    wide = console.options.update(max_width=10_000)
    if console.measure(table, options=wide).maximum <= console.width:
        console.print(table)
        return
    width = max(map(len, heads), default=0)
    console.print(title, markup=False, highlight=False)
    for name, cells in rows.items():
        console.print(f"\n{what} {name}", markup=False, highlight=False)
        for head, cell in cells.items():
            console.print(f"  {head:<{width}}  {cell}", markup=False, highlight=False)
