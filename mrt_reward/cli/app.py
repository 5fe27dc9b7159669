"""The verbs, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from mrt_reward.cli import (
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
from mrt_reward.version import __version__

app = typer.Typer(
    name="mrt-reward",
    help="Dense progress rewards for reasoning RL, as a service (MRT, arXiv 2503.07572).",
    no_args_is_help=True,
    rich_markup_mode="rich",
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


app.command()(serve.serve)
app.command()(score.score)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(star.star)
app.command()(pairs.pairs)
app.command()(prefixes.prefixes)
app.command()(backtracks.backtracks)
app.command()(curriculum.curriculum)
app.command()(compare_provers.compare_provers)
app.command()(demo.demo)
app.command()(doctor.doctor)
app.command()(bench.bench)
app.add_typer(mini.app, name="mini")
