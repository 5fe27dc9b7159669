"""`mrt-reward bench`: how fast this machine proves with this model, beside one full forward."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mrt_reward.benchmark.capacity import Capacity, lines
from mrt_reward.benchmark.plan import SIZES, Plan
from mrt_reward.benchmark.workload import WorkSpec
from mrt_reward.cli.flags import ENGINE, chosen, flag, with_settings
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.files import write_json
from mrt_reward.install import install_command
from mrt_reward.options import EstimatorName

if TYPE_CHECKING:
    from mrt_reward.benchmark.run import Places


_WORK, _PLAN, _CAPACITY = WorkSpec(), Plan(), Capacity()


@with_settings(*ENGINE)
def bench(
    settings: ServeSettings,
    problems: Annotated[int, flag(WorkSpec, "problems")] = _WORK.problems,
    traces: Annotated[int, flag(WorkSpec, "traces")] = _WORK.traces,
    episodes: Annotated[int, flag(WorkSpec, "episodes")] = _WORK.episodes,
    episode_tokens: Annotated[int, flag(WorkSpec, "episode_tokens")] = _WORK.episode_tokens,
    seed: Annotated[int, flag(WorkSpec, "seed")] = _WORK.seed,
    rounds: Annotated[int, flag(Plan, "rounds")] = _PLAN.rounds,
    samples: Annotated[int, flag(Plan, "num_samples")] = _PLAN.num_samples,
    answer_tokens: Annotated[int, flag(Plan, "answer_tokens")] = _PLAN.answer_tokens,
    free_tokens: Annotated[int, flag(Plan, "free_tokens")] = _PLAN.free_tokens,
    slow_problems: Annotated[int, flag(Plan, "slow_problems")] = _PLAN.slow_problems,
    estimator: Annotated[Literal["both", EstimatorName], typer.Option(help="Which estimators to measure.")] = "both",
    grow: Annotated[bool, typer.Option(help="Also 100, 1,000 and 10,000 prefixes, by likelihood.")] = False,
    in_process: Annotated[bool, typer.Option(help="Measure in this process, beside one full forward.")] = True,
    server: Annotated[bool, typer.Option(help="Measure through our server, on loopback.")] = True,
    peers: Annotated[bool, typer.Option(help="Measure plain ways on vLLM's own server; needs vLLM.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Measure a server of ours that runs already, and nothing else.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure nothing: print what such a step of training needs, by arithmetic.")
    ] = False,
    suffix_tokens: Annotated[int, flag(Capacity, "suffix_tokens")] = _CAPACITY.suffix_tokens,
    params_b: Annotated[float, flag(Capacity, "params_b")] = _CAPACITY.params_b,
    layers: Annotated[int, flag(Capacity, "layers")] = _CAPACITY.layers,
    hidden: Annotated[int, flag(Capacity, "hidden")] = _CAPACITY.hidden,
    utilisation: Annotated[float, flag(Capacity, "utilisation")] = _CAPACITY.utilisation,
    step_s: Annotated[float, flag(Capacity, "step_s")] = _CAPACITY.step_s,
    gpu: Annotated[Literal["a100", "h100", "h200"], typer.Option(help="Plan: the GPU.")] = _CAPACITY.gpu,
    tokens_per_s: Annotated[
        float | None, typer.Option(help="Plan: tokens a second of a prefill on one GPU, where they were measured.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--json", help="Also write the rows to this file, as JSON, as they come.")
    ] = None,
) -> None:
    """Measure prefixes per CPU-second of the prover, in this process and through the server.

    The same work is done each way: PROBLEMS × TRACES × EPISODES × EPISODE_TOKENS, of made-up text, as speed does not
    hang on what a trace says. One full forward is a prefill of the unique tokens on the same engine, and for rollouts
    the decoding of as many answer tokens. CPU-seconds are of all processes, the caller's own included. What fails takes
    no row of the others away: it is told, and the exit status is 1. Linux only.
    """
    spec = WorkSpec(problems, traces, episodes, episode_tokens, seed)
    if plan:
        given = {"suffix_tokens": suffix_tokens, "params_b": params_b, "layers": layers, "hidden": hidden}
        given |= {"utilisation": utilisation, "step_s": step_s}
        show_plan(chosen(Capacity, spec=spec, gpu=gpu, tokens_per_s=tokens_per_s, **given))
        return
    if settings.threads is not None:
        # Read by torch when it is loaded, here and in the peers, which do not know our settings.
        os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    # vLLM tells much, and on stdout, where the table goes.
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    from mrt_reward.benchmark.run import Places  # noqa: PLC0415 - the lines above come first

    measured = Plan(
        spec,
        rounds=rounds,
        estimators=_PLAN.estimators if estimator == "both" else (estimator,),
        num_samples=samples,
        answer_tokens=answer_tokens,
        free_tokens=free_tokens,
        slow_problems=slow_problems,
        sizes=SIZES if grow else (),
    )
    run(settings, measured, Places(in_process, server, peers, url), output)


def show_plan(plan: Capacity) -> None:
    """Print what a step needs, each number with where it comes from."""
    table = Table("what", "value", "mark", "how", box=None)
    for line in lines(plan):
        table.add_row(line.what, line.value, line.mark, line.how)
    Console(width=120).print(table)


def run(settings: ServeSettings, plan: Plan, places: Places, output: Path | None) -> None:
    """Measure, write the rows as they come, show the table.

    Raises:
        typer.Exit: with status 1, where something could not be measured.

    """
    try:
        from mrt_reward.benchmark import run as benchmark  # noqa: PLC0415 - loads a tokenizer
        from mrt_reward.benchmark.table import show  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(f"bench needs transformers ({error}): {install_command('transformers')}") from error
    from mrt_reward.benchmark.results import Results  # noqa: PLC0415

    spec = plan.spec
    title = (
        f"{settings.model or 'mini'}, {settings.engine}: {spec.problems} problems x {spec.traces} traces x "
        f"{spec.episodes} episodes x {spec.episode_tokens} tokens"
    )

    def save(results: Results, *, complete: bool = False) -> None:
        if output is not None:
            write_json(output, {"work": title, "complete": complete, "rows": results.records()})

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=benchmark.num_steps(settings.engine, plan, places))
        begun: list[str] = []

        def tell(what: str) -> None:
            progress.update(task, description=what, completed=len(begun))
            begun.append(what)
            if not console.is_terminal:
                console.print(what, highlight=False)  # a bar is drawn on terminals alone

        def changed(results: Results) -> None:
            save(results)
            console.print(results.latest, highlight=False, markup=False)

        results = Results(tell, changed)
        asyncio.run(benchmark.bench(settings, plan, places, results))
        progress.update(task, description="measured", completed=len(begun))
    save(results, complete=not results.failures)
    show(results.rows, results.failures, title)
    if results.failures:
        raise typer.Exit(1)
