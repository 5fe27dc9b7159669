"""The table of the suite: what each row did to the server, what came of it, and what was allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import pytest

PROPERTY = "fault"
"""Under which a test's report carries its figures, from one process to another too."""

HEAD = ("row", "what was done", "figure", "bound", "holds")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        row: what is promised.
        done: to the server.
        figure: what came of it, with its unit.
        bound: what was allowed.
        holds: whether it kept to that.

    """

    row: str
    done: str
    figure: str
    bound: str
    holds: bool


class Row:
    """Writes figures down, and fails its test with the first that does not hold.

    Args:
        record: pytest's `record_property`.

    """

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def found(self, figure: Figure) -> None:
        """Write a figure down; `AssertionError` where it does not hold."""
        self._record(PROPERTY, asdict(figure))
        assert figure.holds, f"{figure.row}: {figure.done}: {figure.figure}, expected {figure.bound}"


def found_by(terminal: pytest.TerminalReporter) -> list[Figure]:
    """Figures of all tests that ran, those that do not hold too."""
    return [
        Figure(**value)
        for outcome in ("passed", "failed")
        for report in terminal.getreports(outcome)
        for name, value in getattr(report, "user_properties", ())
        if name == PROPERTY and report.when == "call"
    ]


def show(terminal: pytest.TerminalReporter, title: str, figures: Sequence[Figure]) -> None:
    """Print the table under a title, where there is any figure."""
    if figures:
        terminal.section(title)
        for line in lines(figures):
            terminal.write_line(line)


def lines(figures: Iterable[Figure]) -> list[str]:
    """The table, as Markdown."""
    cells = [(each.row, each.done, each.figure, each.bound, "yes" if each.holds else "**NO**") for each in figures]
    return [_line(HEAD), "|---" * len(HEAD) + "|", *map(_line, cells)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
