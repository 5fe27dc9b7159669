"""The progress bar of the verbs, the same for all: what is done, how much of it, time passed and time left."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def waiting(progress: Progress, what: str, total: int, completed: int) -> Generator[TaskID]:
    """A task that waits for its first piece under the name `what`; an error before that takes its line away again."""
    task = progress.add_task(what, total=total, completed=completed)
    ended = False
    try:
        yield task
        ended = True
    finally:
        if not ended and any(each.id == task and each.description == what for each in progress.tasks):
            progress.remove_task(task)


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
