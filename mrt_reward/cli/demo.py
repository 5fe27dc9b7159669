"""`mrt-reward demo`: real traces of the bundled model, scored by the real server, told episode by episode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mrt_reward.cli.story import DemoRun, show_story, show_summary
from mrt_reward.client import AsyncClient
from mrt_reward.config import ServeSettings
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.policy import SampledTrace, SamplingSettings, load_model, sample_traces
from mrt_reward.server.run import serve
from mrt_reward.types import Trace
from mrt_reward.wiring import build_scorer

DEMO_SEED = 20_250_307
"""Of the demo's problems; the bundled model was trained on others."""


def demo(
    problems: Annotated[int, typer.Option(min=1, max=1000, help="Problems to think about.")] = 32,
    traces: Annotated[int, typer.Option(min=1, max=64, help="Traces of each problem.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the problems and of the sampling.")] = DEMO_SEED,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Loopback port of the server; 0 takes a free one.")] = 0,
) -> None:
    """Start the server on loopback, let the bundled policy think, and show what each episode earned."""
    console = Console()
    groups = _think(console, problems, traces, seed)
    asyncio.run(_with_server(port, lambda url: _score_and_show(console, url, groups)))


def _think(console: Console, num_problems: int, num_traces: int, seed: int) -> list[list[SampledTrace]]:
    drawn = sample_problems(num_problems, seed)
    with _bar(console) as progress:
        task = progress.add_task("the bundled policy thinks", total=num_problems * num_traces)
        return sample_traces(
            load_model(),
            drawn,
            num_traces,
            SamplingSettings(seed=seed),
            lambda num_done, _: progress.update(task, completed=num_done),
        )


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


async def _with_server(port: int, use: Callable[[str], Awaitable[None]]) -> None:
    """Run the real server beside `use`, and stop it afterwards."""
    settings = ServeSettings(host="127.0.0.1", port=port, admin_port=0, log_format="off")
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(build_scorer(settings), settings, on_ready=ready.set_result))
    try:
        await asyncio.wait({server, ready}, return_when=asyncio.FIRST_COMPLETED)
        if server.done():
            server.result()
        await use(f"http://127.0.0.1:{ready.result()}")
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


async def _score_and_show(console: Console, url: str, groups: Sequence[Sequence[SampledTrace]]) -> None:
    sampled = [trace for group in groups for trace in group]
    asked = [
        Trace(
            id=f"p{place}-t{number}",
            problem=trace.problem.text,
            completion=trace.completion,
            answer=(str(trace.problem.answer),),
            group=f"p{place}",
        )
        for place, group in enumerate(groups)
        for number, trace in enumerate(group)
    ]
    async with AsyncClient(url) as client:
        with _bar(console) as progress:
            task = progress.add_task(f"scored by {url}", total=len(asked))
            started = time.perf_counter()
            scored = await client.score(asked)
            seconds = time.perf_counter() - started
            progress.update(task, completed=len(asked))
    run = DemoRun(groups=[len(group) for group in groups], sampled=sampled, scored=scored, seconds=seconds)
    show_story(console, run)
    show_summary(console, run)
    console.print("\nNow serve it yourself, and score a trace of your own:\n", highlight=False)
    console.print("  mrt-reward serve &", highlight=False)
    body = (
        '{"traces": [{"id": "1", "problem": "'
        + sampled[0].problem.text
        + '", "answer": "'
        + str(sampled[0].problem.answer)
        + '", "completion": "Let me think.</think>"}]}'
    )
    command = f"  curl -s localhost:8000/v1/score -H 'content-type: application/json' -d '{body}'"
    console.print(command, highlight=False, markup=False, soft_wrap=True)
