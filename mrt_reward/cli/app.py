"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from mrt_reward.cli import (
    audit,
    backtracks,
    bench,
    compare_provers,
    curriculum,
    demo,
    doctor,
    evaluate,
    mini,
    pairs,
    prefixes,
    report,
    score,
    serve,
    star,
)
from mrt_reward.cli.help import HeadedCommand
from mrt_reward.version import __version__

app = typer.Typer(
    name="mrt-reward",
    help="Dense progress rewards for reasoning RL, as a service (MRT, arXiv 2503.07572).",
    no_args_is_help=True,
    rich_markup_mode=None,  # a table would cut the names of flags in a terminal of 80 columns
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Dense progress rewards for reasoning RL, as a service (MRT, arXiv 2503.07572)."""
    del version


# Each short enough for a line of the list of verbs in a terminal of 80 columns.
for verb, short in (
    (serve.serve, "Serve progress rewards over HTTP."),
    (score.score, "Score the traces of a JSONL file."),
    (evaluate.evaluate, "Measure a reasoning model by its thinking budget."),
    (report.report, "Make the report of an evaluation again."),
    (star.star, "Data: the traces that made most progress (SFT)."),
    (pairs.pairs, "Data: wrong steps against better ones (DPO)."),
    (prefixes.prefixes, "Data: prefixes to stop at or to go on from (RL)."),
    (backtracks.backtracks, "Data: wrong attempts that go back and end right (SFT)."),
    (curriculum.curriculum, "Plan the next round: its budget and its problems."),
    (compare_provers.compare_provers, "Compare provers, or estimators, on your traces."),
    (audit.audit, "Show which traces look like attempts to game the prover."),
    (demo.demo, "See traces of the bundled model scored, in a minute."),
    (doctor.doctor, "Say what can run here, and what to do about the rest."),
    (bench.bench, "Measure prefixes per CPU-second of a prover."),
):
    app.command(short_help=short, cls=HeadedCommand)(verb)
app.add_typer(mini.app, name="mini", short_help="Train and measure the bundled models.")
