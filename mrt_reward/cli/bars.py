"""The progress bar of the verbs, the same for all: what is done, how much of it, time passed and time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def bar(console: Console, *, of_bytes: bool = False) -> Progress:
    """A bar to enter; tasks are added to it.

    Args:
        console: where it is drawn, on terminals alone.
        of_bytes: tasks are counted in bytes, not in pieces.

    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if of_bytes else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
    )
