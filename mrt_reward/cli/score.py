"""`mrt-reward score`: JSONL of traces in, JSONL of progress rewards out; it goes on where it was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from mrt_reward.cli.bars import bar, waiting
from mrt_reward.cli.columns import Map, notes_on, refuse_unanswered, refuse_unusable, renames_from
from mrt_reward.cli.flags import ENGINE, with_settings
from mrt_reward.cli.jsonl import FileRow, read_rows
from mrt_reward.cli.options import OPTIONS, options_from
from mrt_reward.cli.resuming import Begun
from mrt_reward.cli.totals import FIRST, UNTHINKING, Totals
from mrt_reward.client import UNREACHABLE, AsyncClient
from mrt_reward.config import ServeSettings
from mrt_reward.errors import NO_THINKING, ConfigError, MRTRewardError, ProverUnavailable
from mrt_reward.evaluation.folder import Log
from mrt_reward.evaluation.record import record
from mrt_reward.options import ScoreOptions
from mrt_reward.protocols import grader_of
from mrt_reward.types import ErrorInfo, ScoredTrace, Status, Trace
from mrt_reward.wire import read_scored
from mrt_reward.wiring import build_scorer, expected_name, expected_note, expected_version

GONE = (ProverUnavailable.code, UNREACHABLE)
"""Codes of errors that say that nothing proves any more."""

CHUNK = 64
"""Traces handed over at once: enough to fill batches, few enough that a kill loses little."""


@with_settings(*ENGINE, "graders", "cache_path", "cache_disk_mb")
def score(
    traces: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JSONL: problem, completion, answer …")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="JSONL to write. [default: TRACES with .scored.jsonl]"),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Score on this server; without it, in this process.")
    ] = None,
    options: Annotated[str | None, typer.Option(metavar=OPTIONS, help="Scoring options.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew instead of going on.")] = False,
    columns: Map = None,
    *,
    settings: ServeSettings,
) -> None:
    """Score the traces of a JSONL file.

    Each line of TRACES is an object with `problem` (or `messages`, or `prompt`), `completion` and `answer`; other
    columns pass through under `extra`. Lines that are already in the output are not scored again; where they were
    scored with another model or other options, or of other traces, nothing is written.
    """
    target = output or traces.with_suffix(".scored.jsonl")
    if target.resolve() == traces.resolve():
        raise ConfigError(f"--output must not be the input itself ({traces})", param="output")
    renames = renames_from(columns)
    scoring = options_from(options, settings.options)
    grader = None if url else grader_of(scoring.grader, settings.graders)
    rows = list(read_rows(traces, renames))
    refuse_unusable(traces, rows)
    refuse_unanswered(traces, rows, scoring, grader, renames)
    gold_column = next(
        (f"`{theirs}` (--map answer)" for theirs, ours in renames.items() if ours == "answer"), "`answer`"
    )
    run = _Run(rows, target, url, overwrite, settings, scoring, gold_column)
    asyncio.run(_run(run, Console(stderr=True)))


@dataclass(frozen=True)
class _Run:
    rows: Sequence[FileRow]
    target: Path
    url: str | None
    overwrite: bool
    settings: ServeSettings
    options: ScoreOptions
    gold_column: str

    @property
    def recorded(self) -> ScoreOptions:
        """The options with the grader's name, where that is known: a line says by what it was judged."""
        default = None if self.url else next(iter(self.settings.graders))
        return replace(self.options, grader=self.options.grader or default)

    @property
    def begun(self) -> Begun:
        """What lines from before must agree with."""
        return Begun(self.target, self.recorded, {row.id: row.trace for row in self.rows if row.trace is not None})


_OF_A_PROVER = frozenset({"model", "engine", "engine_url", "tokenizer", "graders"})
"""Settings that a server's own stand in place of."""


async def _run(run: _Run, console: Console) -> None:
    if run.overwrite:
        run.target.unlink(missing_ok=True)
    totals = Totals()
    with closing(Log(run.target)) as before:
        done = _already(run, before, totals)
    await _refuse_other_prover(run, done)
    if not run.url and (note := expected_note(run.settings)):
        totals.notes[note] = None  # also where nothing is left to score
    if run.url and (unused := sorted(run.settings.model_fields_set & _OF_A_PROVER)):
        totals.notes[
            f"--url asks a server, which has a prover and graders of its own: unused here are {', '.join(unused)}"
        ] = None
    with closing(Log(run.target, keep=_not_failed)) as log:
        for note in notes_on(run.rows):
            console.print(note, highlight=False, markup=False, soft_wrap=True)
        try:
            await _score(run, done, _Sink(log, totals, console))
        except (MRTRewardError, asyncio.CancelledError):
            if totals.num_usable:
                note = f"{run.target} keeps {totals.num_usable} scored traces; the same command goes on after them"
                console.print(note, highlight=False, markup=False, soft_wrap=True)
            elif not run.target.stat().st_size:
                run.target.unlink()
            raise
    _report(run, totals, console)
    if totals.first_error or not totals.num_usable:
        raise SystemExit(1)


def _not_failed(fields: Mapping[str, Any]) -> bool:
    """Whether a line stays; what failed is done again."""
    return fields.get("status") != Status.ERROR.value


@dataclass(frozen=True)
class _Done:
    """What the output holds from before: ids, and who scored them."""

    ids: frozenset[str]
    provers: Collection[str]


@dataclass(frozen=True)
class _Sink:
    """Where scored traces go, and the console that shows the progress."""

    log: Log
    totals: Totals
    console: Console


def _already(run: _Run, log: Log, totals: Totals) -> _Done:
    """Read the lines from before; those of traces that the input does not have stay, and count for nothing.

    Raises:
        ConfigError: they were scored in another way, or the input was edited.

    """
    wanted, begun = {row.id for row in run.rows}, run.begun
    ids: set[str] = set()
    provers: dict[str, None] = {}
    for _, fields in filter(lambda line: _not_failed(line[1]), log.lines()):
        begun.refuse(fields)
        if (prover := fields.get("prover")) is not None:
            provers[str(prover)] = None
        name = str(fields.get("id"))
        if name in wanted and name not in ids:
            ids.add(name)
            totals.skip(read_scored(fields))
    return _Done(frozenset(ids), provers)


async def _refuse_other_prover(run: _Run, done: _Done) -> None:
    """Compare who scored the lines from before with who would prove now, before a model is loaded.

    Raises:
        ConfigError: they differ, also where no trace is left to score.
        WireError: the server does not say who it is.

    """
    if not done.provers:
        return
    if run.url:
        async with AsyncClient(run.url, api_key=run.settings.plain_api_key) as client:
            info = await client.prover()
        run.begun.refuse_prover(done.provers, info.model, info.version)
        return
    name = expected_name(run.settings)
    if name is not None:
        # Weights are fetched only to go on with them.
        same = {prover.rpartition("@")[0] for prover in done.provers} == {name}
        goes_on = same and any(row.id not in done.ids for row in run.rows)
        run.begun.refuse_prover(done.provers, name, expected_version(run.settings, download=goes_on))


async def _score(run: _Run, done: _Done, sink: _Sink) -> None:
    todo = [row for row in run.rows if row.id not in done.ids]
    # By their position in the file: those that do not think fail sooner than others are scored.
    first = {row.id for row in todo[:FIRST]}
    unthinking: set[str] = set()
    index_of = {row.id: index for index, row in enumerate(run.rows)}
    what = "waiting for the prover" if todo else "scoring"
    with bar(sink.console) as progress, waiting(progress, what, len(run.rows), len(done.ids)) as task:
        async for row, scored in _scored(run, todo, done.provers):
            if scored.error is not None and scored.error.code in GONE:
                # Every other trace would fail as this one.
                raise ProverUnavailable(scored.error.message)
            sink.log.add(record(row.trace, scored, row.extra, options=run.recorded))
            sink.totals.add(index_of[row.id], scored)
            progress.update(task, description="scoring", advance=1)
            if row.id in first and scored.error is not None and scored.error.code == NO_THINKING:
                unthinking.add(row.id)
                if len(unthinking) == FIRST:
                    sink.console.print(UNTHINKING, style="red", highlight=False, markup=False, soft_wrap=True)


def _report(run: _Run, totals: Totals, console: Console) -> None:
    for line in totals.lines():
        console.print(f"{run.target}: {line}", highlight=False, markup=False, soft_wrap=True)
    for note in totals.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if totals.first_error:
        console.print(f"first failure: {totals.first_error}", highlight=False, markup=False, soft_wrap=True)
    gold = next((row.trace.answer[0] for row in run.rows if row.trace is not None and row.trace.answer), None)
    if totals.no_success and gold is not None:
        doubt = (
            f"no trace is right and no value moves: is {run.gold_column} the right column? the first one is {gold!r}"
        )
        console.print(doubt, highlight=False, markup=False, soft_wrap=True)


async def _scored(
    run: _Run, rows: Sequence[FileRow], provers: Collection[str]
) -> AsyncIterator[tuple[FileRow, ScoredTrace]]:
    readable = [(row, row.trace) for row in rows if row.trace is not None]
    for row in rows:
        if row.error is not None:
            yield row, ScoredTrace(row.id, Status.ERROR, error=ErrorInfo.of(row.error))
    if not readable:
        return
    engine = _remote(run, readable) if run.url else _local(run, readable, provers)
    async for index, scored in engine:
        yield readable[index][0], scored


async def _local(
    run: _Run, rows: Sequence[tuple[FileRow, Trace]], provers: Collection[str]
) -> AsyncIterator[tuple[int, ScoredTrace]]:
    scorer = build_scorer(run.settings)
    try:
        if provers:
            # An endpoint says who it is once it was asked.
            await scorer.check()
            run.begun.refuse_prover(provers, scorer.info.name, scorer.info.version)
        for start in range(0, len(rows), CHUNK):
            chunk = [trace for _, trace in rows[start : start + CHUNK]]
            async for index, scored in scorer.stream(chunk, run.options):
                yield start + index, scored
    finally:
        await scorer.close()


async def _remote(run: _Run, rows: Sequence[tuple[FileRow, Trace]]) -> AsyncIterator[tuple[int, ScoredTrace]]:
    api_key = run.settings.plain_api_key
    async with AsyncClient(cast("str", run.url), api_key=api_key) as client:
        for start in range(0, len(rows), CHUNK):
            chunk = [trace for _, trace in rows[start : start + CHUNK]]
            async for index, scored in client.stream(chunk, run.options):
                yield start + index, scored
