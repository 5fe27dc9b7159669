"""`mrt-reward score`: JSONL of traces in, JSONL of progress rewards out; it goes on where it was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mrt_reward.cli.flags import ENGINE, options_from, with_settings
from mrt_reward.cli.jsonl import Row, read_rows
from mrt_reward.client import AsyncClient
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.folder import Log
from mrt_reward.evaluation.record import record
from mrt_reward.options import ScoreOptions
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace
from mrt_reward.wiring import build_scorer

CHUNK = 64
"""Traces handed over at once: enough to fill batches, few enough that a kill loses little."""


@dataclass
class Tally:
    """What was done, for the closing lines."""

    ok: int = 0
    partial: int = 0
    error: int = 0
    skipped: int = 0
    first_error: str = ""
    notes: dict[str, None] = field(default_factory=dict[str, None])

    def add(self, scored: ScoredTrace) -> None:
        """Count one trace."""
        setattr(self, scored.status.value, getattr(self, scored.status.value) + 1)
        self.notes.update(dict.fromkeys(scored.notes))
        if scored.error is not None and not self.first_error:
            self.first_error = f"{scored.id}: {scored.error.message}"


@with_settings(*ENGINE, "graders", "cache_path", "cache_disk_mb")
def score(
    traces: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSONL: problem, completion, answer …")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSONL to write. \\[default: TRACES with .scored.jsonl]")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Score on this server; without it, in this process.")] = None,
    options: Annotated[
        str | None, typer.Option(help="Scoring options: JSON, @FILE, mrt-aime, mrt-omni-math or mrt-regret.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Start anew instead of going on.")] = False,
    *,
    settings: ServeSettings,
) -> None:
    """Score the traces of a JSONL file.

    Each line of TRACES is an object with `problem` (or `messages`, or `prompt`), `completion` and `answer`; other
    columns pass through under `extra`. Lines that are already in the output are not scored again.
    """
    target = output or traces.with_suffix(".scored.jsonl")
    if target.resolve() == traces.resolve():
        raise ConfigError(f"--output must not be the input itself ({traces})", param="output")
    console = Console(stderr=True)
    chosen = options_from(options, settings.options)
    asyncio.run(_run(_Run(traces, target, url, overwrite, settings, chosen), console))


@dataclass(frozen=True)
class _Run:
    source: Path
    target: Path
    url: str | None
    overwrite: bool
    settings: ServeSettings
    options: ScoreOptions


async def _run(run: _Run, console: Console) -> None:
    rows = list(read_rows(run.source))
    if run.overwrite:
        run.target.unlink(missing_ok=True)
    # What failed is done again.
    log = Log(run.target, keep=lambda fields: fields.get("status") != Status.ERROR.value)
    done = {str(fields.get("id")) for _, fields in log.lines()}
    todo = [row for row in rows if row.id not in done]
    tally = Tally(skipped=len(rows) - len(todo))
    extras = sorted({name for row in rows for name in row.extra})
    if extras:
        console.print(f"columns passed through under `extra`: {', '.join(extras)}", highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with closing(log), Progress(*columns, console=console) as progress:
        task = progress.add_task("scoring", total=len(rows), completed=tally.skipped)
        async for row, scored in _scored(run, todo):
            log.add(record(row.trace, scored, row.extra))
            tally.add(scored)
            progress.advance(task)
    console.print(
        f"{run.target}: {tally.ok} ok, {tally.partial} partial, {tally.error} failed, {tally.skipped} already there",
        highlight=False,
        soft_wrap=True,
    )
    for note in tally.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if tally.first_error:
        console.print(f"first failure: {tally.first_error}", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(1)


async def _scored(run: _Run, rows: Sequence[Row]) -> AsyncIterator[tuple[Row, ScoredTrace]]:
    readable = [(row, row.trace) for row in rows if row.trace is not None]
    for row in rows:
        if row.error is not None:
            yield row, ScoredTrace(row.id, Status.ERROR, error=ErrorInfo.of(row.error))
    engine = _remote(run, readable) if run.url else _local(run, readable)
    async for place, scored in engine:
        yield readable[place][0], scored


async def _local(run: _Run, rows: Sequence[tuple[Row, Trace]]) -> AsyncIterator[tuple[int, ScoredTrace]]:
    scorer = build_scorer(run.settings)
    try:
        for start in range(0, len(rows), CHUNK):
            chunk = [trace for _, trace in rows[start : start + CHUNK]]
            async for place, scored in scorer.stream(chunk, run.options):
                yield start + place, scored
    finally:
        await scorer.close()


async def _remote(run: _Run, rows: Sequence[tuple[Row, Trace]]) -> AsyncIterator[tuple[int, ScoredTrace]]:
    api_key = run.settings.plain_api_key
    async with AsyncClient(cast("str", run.url), api_key=api_key) as client:
        for start in range(0, len(rows), CHUNK):
            chunk = [trace for _, trace in rows[start : start + CHUNK]]
            async for place, scored in client.stream(chunk, run.options):
                yield start + place, scored
