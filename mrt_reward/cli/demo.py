"""`mrt-reward demo`: real traces of the bundled model, scored by the real server, shown episode by episode."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from mrt_reward.errors import ConfigError
from mrt_reward.install import install_command

DEMO_SEED = 20_250_307
"""Of the demo's problems; the bundled model was trained on others."""


def demo(
    problems: Annotated[int, typer.Option(min=1, max=1000, help="Problems to think about.")] = 32,
    traces: Annotated[int, typer.Option(min=1, max=64, help="Traces of each problem.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the problems and of the sampling.")] = DEMO_SEED,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port of the server; 0 takes a free one.")] = 0,
) -> None:
    """Start the server on loopback, let the bundled policy think, and show what each episode earned."""
    try:
        from mrt_reward.cli.demonstration import run_demo  # noqa: PLC0415 - loads torch
    except ImportError as error:
        raise ConfigError(f"demo needs torch and transformers ({error}): {install_command('transformers')}") from error
    run_demo(Console(), problems, traces, seed, port)
