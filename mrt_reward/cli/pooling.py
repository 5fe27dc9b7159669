"""What the verbs that make data share: flags, the engine, and telling what was read and what was left out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from mrt_reward.cli.bars import bar
from mrt_reward.cli.options import OPTIONS
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.datasets.branching import Brancher, BranchSettings
from mrt_reward.evaluation.datasets.branching import OnProgress as Report
from mrt_reward.evaluation.datasets.prompts import Prompts
from mrt_reward.evaluation.pool import Pool, ReadOptions, read_pool
from mrt_reward.evaluation.traces import ReadNotes
from mrt_reward.install import install_command
from mrt_reward.options import Delimiters, ScoreOptions
from mrt_reward.wiring import build_prover, build_scorer

if TYPE_CHECKING:
    from mrt_reward.provers.tokenizer import HFTokenizer

T = TypeVar("T")

ScoredFiles = Annotated[
    list[Path], typer.Argument(exists=True, dir_okay=False, help="JSONL of `mrt-reward score` or `evaluate`.")
]
Output = Annotated[Path, typer.Option("--output", "-o", dir_okay=False, help="File to write.")]
TokenizerName = Annotated[
    str | None,
    typer.Option(metavar="FOLDER|NAME", help="The policy's tokenizer, which renders prompts as text."),
]
Policy = Annotated[str | None, typer.Option(help="Take the traces of this model only, where a file holds several.")]
Options = Annotated[
    str | None,
    typer.Option(metavar=OPTIONS, help="Options that the traces were scored with, where not the defaults."),
]


class Format(str, Enum):
    """How a row says it."""

    messages = "messages"
    text = "text"


def pool_and_prompts(
    scored: list[Path], tokenizer: str | None, policy: str | None, delimiters: Delimiters
) -> tuple[Pool, Prompts]:
    """The traces to make data of, read with a progress bar, and how to render what they were asked.

    Raises:
        ConfigError: no trace is usable, they are mixed, or the tokenizer cannot be loaded.

    """
    prompts = Prompts(None if tokenizer is None else _tokenizer(tokenizer), delimiters)
    reading = ReadOptions(delimiters, prompts.holds_control, policy)
    with bar(Console(stderr=True), of_bytes=True) as progress:
        num_all = sum(path.stat().st_size for path in scored)
        task = progress.add_task("reading", total=num_all)
        pool = read_pool(scored, reading, lambda num_bytes: progress.update(task, completed=num_bytes))
        progress.update(task, completed=num_all)  # lines that count for nothing are not reported
    return pool, prompts


def _tokenizer(name: str) -> HFTokenizer:
    try:
        from mrt_reward.provers.tokenizer import HFTokenizer  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            f"--tokenizer needs transformers ({error}): {install_command('transformers')}", param="tokenizer"
        ) from error
    return HFTokenizer(name)


@dataclass(frozen=True, slots=True)
class BranchRun:
    """What continues prefixes.

    Attributes:
        settings: of the engine.
        options: that the pool was scored with.
        branching: how to sample.
        prover: that scored the pool; None where the engine need not be the same.

    """

    settings: ServeSettings
    options: ScoreOptions
    branching: BranchSettings
    prover: str | None = None


def on_engine(
    run: BranchRun, console: Console, what: str, use: Callable[[Brancher, Report], Awaitable[T]]
) -> tuple[T, Mapping[str, int]]:
    """Build the engine, use it with a progress bar, and close it.

    Returns:
        What `use` returned, and what became of the continuations.

    Raises:
        ConfigError: the engine cannot be built, or its weights are not those that scored the pool.

    """

    async def body() -> tuple[T, Mapping[str, int]]:
        prover = build_prover(run.settings)
        scorer = build_scorer(run.settings, prover)
        try:
            scored_by = (run.prover or "").rpartition("@")[2]
            if run.prover is not None and prover.info.version != scored_by:
                raise ConfigError(
                    f"the traces were scored by {run.prover}, and the engine is {prover.info.name}@"
                    f"{prover.info.version}: name the same --model, so that values compare",
                    param="model",
                )
            brancher = Brancher(scorer, prover.tokenizer, run.options, run.branching)
            with bar(console) as progress:
                task = progress.add_task(what)
                used = await use(brancher, lambda done, total: progress.update(task, completed=done, total=total))
            return used, dict(brancher.counts)
        finally:
            await scorer.close()

    return asyncio.run(body())


def show_counts(
    console: Console, title: str, counts: Mapping[str, int], figures: Mapping[str, object] | None = None
) -> None:
    """A table of how many of what, and of a few figures."""
    table = Table(title=title, title_justify="left", show_header=False)
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    table.add_section()
    for name, figure in (figures or {}).items():
        table.add_row(name, f"{figure:.4g}" if isinstance(figure, float) else str(figure))
    console.print(table)


def show_notes(console: Console, notes: ReadNotes) -> None:
    """What was wrong with the file itself, if anything."""
    stats = {
        "cut short, as a kill leaves them": notes.cut,
        f"malformed, first {notes.first_malformed}": notes.malformed,
        "of an id that was there before": notes.duplicates,
    }
    for what, count in stats.items():
        if count:
            console.print(f"{count} lines skipped: {what}", highlight=False, markup=False, soft_wrap=True)
