"""`mrt-reward mini`: train and measure the bundled model."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from mrt_reward.mini import MODEL_DIR

if TYPE_CHECKING:
    from mrt_reward.mini.evaluation import Measurement

app = typer.Typer(no_args_is_help=True, help="Train and measure the bundled model.")

Folder = Annotated[Path, typer.Argument(help="Model folder.", file_okay=False)]


@app.command()
def train(
    folder: Folder,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the weights and of the text.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    tidy: Annotated[bool, typer.Option(help="Train on searches without waste instead of sloppy ones.")] = False,
    problems: Annotated[int, typer.Option(min=0, help="Fresh problems to measure on; 0 writes no card.")] = 500,
) -> None:
    """Train the bundled model from its seed into FOLDER, measure it, and write its model card."""
    from mrt_reward.mini.card import write_card  # noqa: PLC0415 - torch takes seconds to import
    from mrt_reward.mini.training import TrainingSettings  # noqa: PLC0415
    from mrt_reward.mini.training import train as train_model  # noqa: PLC0415
    from mrt_reward.mini.writer import TIDY  # noqa: PLC0415

    settings = TrainingSettings()
    settings = replace(
        settings,
        seed=settings.seed if seed is None else seed,
        sloppiness=TIDY if tidy else settings.sloppiness,
    )
    if steps is not None:
        settings = settings.scaled(steps)
    started = time.monotonic()
    train_model(folder, settings)
    minutes = (time.monotonic() - started) / 60
    if problems:
        made = f"{settings.num_steps} steps, seed {settings.seed}"
        note = f"{made}, {minutes:.1f} minutes on {settings.num_threads} CPU thread(s)."
        write_card(folder, _measure(folder, problems), note)


@app.command()
def evaluate(
    folder: Folder = MODEL_DIR,
    problems: Annotated[int, typer.Option(min=1, help="Fresh problems; the model card's numbers use 500.")] = 500,
) -> None:
    """Measure a model on fresh problems against what each prefix has revealed."""
    _measure(folder, problems)


def _measure(folder: Path, num_problems: int) -> Measurement:
    from mrt_reward.mini.card import tables  # noqa: PLC0415
    from mrt_reward.mini.evaluation import measure  # noqa: PLC0415

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        measured = measure(folder, num_problems, report)
    for shown in tables(measured):
        console.print(shown)
    return measured
