"""`mrt-reward mini`: train and measure the bundled model."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import TaskID
from rich.table import Table

from mrt_reward.cli.bars import bar
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.bundled import BUNDLED, Bundled, BundledName

if TYPE_CHECKING:
    from mrt_reward.mini.comparison import Interval
    from mrt_reward.mini.evaluation import MiniMeasurement

app = typer.Typer(no_args_is_help=True, help="Train and measure the bundled models.")

ITSELF = "the bundled one"

Name = Annotated[BundledName, typer.Option("--name", help="Bundled model whose problems and budget these are.")]
Folder = Annotated[Path, typer.Argument(help="Model folder.", file_okay=False)]


@app.command(short_help="Train a bundled model from its seed.")
def train(
    folder: Folder,
    name: Name = "mini",
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the weights and of the training text.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimizer steps.")] = None,
    tidy: Annotated[bool, typer.Option(help="Train on searches without waste instead of sloppy ones.")] = False,
    problems: Annotated[int, typer.Option(min=0, help="Fresh problems to measure on; 0 writes no card.")] = 500,
) -> None:
    """Train a bundled model from its seed into FOLDER, measure it, and write its model card.

    Say the same again after a kill, and it goes on.
    """
    from mrt_reward.mini.card import write_card  # noqa: PLC0415 - torch takes seconds to import
    from mrt_reward.mini.training import SETTINGS  # noqa: PLC0415
    from mrt_reward.mini.training import train as train_model  # noqa: PLC0415
    from mrt_reward.mini.writer import TIDY  # noqa: PLC0415

    settings = SETTINGS[name]
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
        write_card(folder, _measure(folder, BUNDLED[name], problems), note)


@app.command(short_help="Measure it against the truth of each prefix.")
def evaluate(
    folder: Annotated[Path | None, typer.Argument(help="Model folder.", file_okay=False, show_default=ITSELF)] = None,
    name: Name = "mini",
    problems: Annotated[int, typer.Option(min=1, help="Fresh problems; the model cards say how many they used.")] = 500,
) -> None:
    """Measure a model on fresh problems against what each prefix has revealed."""
    _measure(folder, BUNDLED[name], problems)


def _measure(folder: Path | None, bundled: Bundled, num_problems: int) -> MiniMeasurement:
    from mrt_reward.mini.card import tables  # noqa: PLC0415
    from mrt_reward.mini.evaluation import measure  # noqa: PLC0415

    with _progress() as report:
        measured = measure(folder, bundled, num_problems, report)
    console = Console()
    for shown in tables(measured):
        console.print(shown)
    return measured


@contextmanager
def _progress() -> Generator[Callable[[str, int, int], None]]:
    """A bar for each thing that is done, updated by (what, how much of it, of how much)."""
    with bar(Console(stderr=True)) as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what)
            progress.update(tasks[what], completed=done, total=total)

        yield report


@app.command()
def sample(
    output: Annotated[Path, typer.Argument(help="JSONL to write, as `mrt-reward score` reads it.", dir_okay=False)],
    folder: Annotated[
        Path | None, typer.Option("--model", help="Model folder.", file_okay=False, show_default=ITSELF)
    ] = None,
    name: Name = "mini",
    problems: Annotated[int, typer.Option(min=1, help="Problems to draw.")] = 500,
    traces: Annotated[int, typer.Option(min=0, help="Traces of each problem; 0 writes the problems alone.")] = 8,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a completion.", show_default="the model's own")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the problems and of the sampling.")] = 0,
) -> None:
    """Sample traces of a bundled model on its problems."""
    from mrt_reward.files import write_jsonl  # noqa: PLC0415
    from mrt_reward.mini.policy import SamplingSettings, load_model, sample_traces  # noqa: PLC0415

    bundled = BUNDLED[name]
    drawn = bundled.sample(problems, seed)
    ids = [f"s{seed}-p{index}" for index in range(problems)]
    asked = [{"problem": problem.text, "answer": str(problem.answer)} for problem in drawn]
    if traces == 0:
        write_jsonl(output, ({"id": each, **row} for each, row in zip(ids, asked, strict=True)))
        Console(stderr=True).print(f"{output}: {problems} problems", highlight=False, soft_wrap=True)
        return
    with _progress() as report:
        groups = sample_traces(
            load_model(folder or bundled.folder),
            drawn,
            traces,
            SamplingSettings(budget or bundled.budget_tokens, seed=seed),
            lambda done, total: report("sampling", done, total),
        )
    rows = (
        {"id": f"{each}-t{number}", "group": each, **row, "completion": trace.completion}
        for each, row, group in zip(ids, asked, groups, strict=True)
        for number, trace in enumerate(group)
    )
    num_rows = write_jsonl(output, rows)
    Console(stderr=True).print(f"{output}: {num_rows} traces of {problems} problems", highlight=False, soft_wrap=True)


@app.command(short_help="Fine-tune a bundled model on chats.")
def tune(
    data: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSONL of chats (`messages`).")],
    folder: Annotated[Path, typer.Argument(help="Model folder to write.", file_okay=False)],
    base: Annotated[
        Path,
        typer.Option("--model", help="Model folder to start from.", file_okay=False, show_default="the bundled mini"),
    ] = MODEL_DIR,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the chats.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="Peak of Adam.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the order of the chats.")] = None,
) -> None:
    """Fine-tune a bundled model on chats, such as `mrt-reward star` writes, into FOLDER."""
    from mrt_reward.mini.tuning import TuningSettings  # noqa: PLC0415 - torch takes seconds to import
    from mrt_reward.mini.tuning import tune as tune_model  # noqa: PLC0415

    given = {"num_epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    settings = replace(TuningSettings(), **{name: value for name, value in given.items() if value is not None})
    with _progress() as report:
        losses = tune_model(base, data, folder, settings, lambda done, total, _: report("fine-tuning", done, total))
    Console(stderr=True).print(
        f"{folder}: {len(losses)} steps, loss {losses[0]:.3f} → {losses[-1]:.3f}", highlight=False, soft_wrap=True
    )


@app.command(short_help="Accuracy, tokens and waste of several models.")
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Model folders; the first is what others are compared with.")],
    name: Name = "mini",
    problems: Annotated[int, typer.Option(min=2, help="Fresh problems, the same for all.")] = 500,
    traces: Annotated[int, typer.Option(min=1, help="Traces of each problem.")] = 8,
) -> None:
    """Accuracy, tokens and waste of bundled models on the same fresh problems, with 95 % intervals."""
    from mrt_reward.mini.comparison import QUANTITIES  # noqa: PLC0415 - torch takes seconds to import
    from mrt_reward.mini.comparison import compare as compare_models  # noqa: PLC0415

    with _progress() as report:
        measures = compare_models(folders, BUNDLED[name], problems, traces, report)
    table = Table(title=f"{problems} fresh problems, {traces} traces each; difference to the first, paired by problem")
    for column in ("model", *QUANTITIES):
        table.add_column(column)
    for measure in measures:
        table.add_row(str(measure.folder), *(_spread(measure.interval(name)) for name in QUANTITIES))
        if measure is not measures[0]:
            table.add_row("  difference", *(_spread(measure.difference(measures[0], name)) for name in QUANTITIES))
    Console().print(table)


def _spread(interval: Interval) -> str:
    return f"{interval.mean:.4g} [{interval.low:.4g}, {interval.high:.4g}]"
