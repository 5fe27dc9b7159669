"""`mrt-reward bench`: how fast this machine proves with this model, beside one full forward."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from mrt_reward.benchmark.capacity import Capacity, lines
from mrt_reward.benchmark.plan import SIZES, BenchPlan, Targets
from mrt_reward.benchmark.workload import WorkSpec
from mrt_reward.cli.bars import bar
from mrt_reward.cli.flags import ENGINE, taking, with_settings
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.files import write_json
from mrt_reward.install import install_command
from mrt_reward.options import EstimatorName


@with_settings(*ENGINE)
def bench(
    *,
    settings: ServeSettings,
    work: WorkSpec,
    measured: Annotated[
        BenchPlan,
        taking(
            *("rounds", "num_samples", "answer_tokens", "free_tokens", "slow_problems"),
            num_samples="--samples",
        ),
    ],
    estimator: Annotated[Literal["both", EstimatorName], typer.Option(help="Which estimators to measure.")] = "both",
    grow: Annotated[bool, typer.Option(help="Also 100, 1,000 and 10,000 prefixes, by likelihood.")] = False,
    targets: Targets,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure nothing: print what such a step of training needs, by arithmetic.")
    ] = False,
    needs: Annotated[
        Capacity,
        taking(
            *("suffix_tokens", "params_b", "layers", "hidden", "utilisation", "step_s", "gpu", "tokens_per_s"),
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--json", dir_okay=False, help="Also write the rows to this file, as JSON, as they come."),
    ] = None,
) -> None:
    """Measure prefixes per CPU-second of the prover, in this process and through the server.

    The same work is done each way: PROBLEMS × TRACES × EPISODES × EPISODE_TOKENS, of made-up text, as speed does not
    hang on what a trace says. One full forward is a prefill of the unique tokens on the same engine, and for rollouts
    the decoding of as many answer tokens. CPU-seconds are of all processes, the caller's own included. What fails takes
    no row of the others away: it is reported, and the exit status is 1. Linux only.
    """
    if plan:
        show_plan(replace(needs, spec=work))
        return
    if settings.threads is not None:
        # Read by torch when it is loaded, here and in the peers, which do not know our settings.
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    # vLLM tells much, and on stdout, where the table goes.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    estimators = measured.estimators if estimator == "both" else (estimator,)
    run(settings, replace(measured, spec=work, estimators=estimators, sizes=SIZES if grow else ()), targets, output)


def show_plan(plan: Capacity) -> None:
    """Print what a step needs, each number with where it comes from."""
    table = Table("what", "value", "mark", "how", box=None)
    for line in lines(plan):
        table.add_row(line.what, line.value, line.mark, line.how)
    Console().print(table)


def run(settings: ServeSettings, plan: BenchPlan, targets: Targets, output: Path | None) -> None:
    """Measure, write the rows as they come, show the table.

    Raises:
        typer.Exit: with status 1, where something could not be measured.

    """
    try:
        from mrt_reward.benchmark import run as benchmark  # noqa: PLC0415 - loads a tokenizer
        from mrt_reward.benchmark.table import show  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"bench needs transformers ({error}): {install_command('transformers')}") from error
    from mrt_reward.benchmark.results import BenchResults  # noqa: PLC0415

    spec = plan.spec
    title = (
        f"{settings.model or 'mini'}, {settings.engine}: {spec.problems} problems x {spec.traces} traces x "
        f"{spec.episodes} episodes x {spec.episode_tokens} tokens"
    )

    def save(results: BenchResults, *, complete: bool = False) -> None:
        if output is not None:
            write_json(output, {"work": title, "complete": complete, "rows": results.records()})

    console = Console(stderr=True)
    with bar(console) as progress:
        task = progress.add_task("starting", total=benchmark.num_steps(settings.engine, plan, targets))
        begun: list[str] = []

        def tell(what: str) -> None:
            progress.update(task, description=what, completed=len(begun))
            begun.append(what)
            if not console.is_terminal:
                console.print(what, highlight=False)  # a bar is drawn on terminals alone

        def changed(results: BenchResults) -> None:
            save(results)
            console.print(results.latest, highlight=False, markup=False)

        results = BenchResults(tell, changed)
        asyncio.run(benchmark.bench(settings, plan, targets, results))
        progress.update(task, description="measured", completed=len(begun))
    save(results, complete=not results.failures)
    show(results.rows, results.failures, title)
    if results.failures:
        raise typer.Exit(1)
