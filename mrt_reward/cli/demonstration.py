"""What `mrt-reward demo` does: the bundled policy thinks, the real server scores, and the result is printed."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rich.console import Console

from mrt_reward.cli.bars import bar
from mrt_reward.cli.story import DemoRun, index_to_show, show_story, show_summary
from mrt_reward.client import AsyncClient
from mrt_reward.config import ServeSettings
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.policy import SampledTrace, SamplingSettings, load_model, sample_traces
from mrt_reward.server.run import serve
from mrt_reward.types import ScoredTrace, Trace
from mrt_reward.wiring import build_scorer


def run_demo(console: Console, num_problems: int, num_traces: int, seed: int, port: int) -> None:
    """Think, serve, score and tell.

    Args:
        console: where to tell.
        num_problems: number of fresh problems.
        num_traces: traces of each problem.
        seed: of the problems and of the sampling.
        port: of the server on loopback; 0 takes a free one.

    """
    groups = _think(console, num_problems, num_traces, seed)
    asyncio.run(_with_server(port, lambda url: _score_and_show(console, url, groups)))


def _think(console: Console, num_problems: int, num_traces: int, seed: int) -> list[list[SampledTrace]]:
    drawn = sample_problems(num_problems, seed)
    with bar(console) as progress:
        task = progress.add_task("the bundled policy thinks", total=num_problems * num_traces)
        return sample_traces(
            load_model(),
            drawn,
            num_traces,
            SamplingSettings(seed=seed),
            lambda num_done, _: progress.update(task, completed=num_done),
        )


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
            id=f"p{index}-t{number}",
            problem=trace.problem.text,
            completion=trace.completion,
            answer=(str(trace.problem.answer),),
            group=f"p{index}",
        )
        for index, group in enumerate(groups)
        for number, trace in enumerate(group)
    ]
    scored: dict[int, ScoredTrace] = {}
    async with AsyncClient(url) as client:
        with bar(console) as progress:
            task = progress.add_task(f"scored by {url}", total=len(asked))
            started = time.perf_counter()
            async for index, trace in client.stream(asked):
                scored[index] = trace
                progress.update(task, advance=1)
            seconds = time.perf_counter() - started
    run = DemoRun([len(group) for group in groups], sampled, [scored[index] for index in range(len(asked))], seconds)
    show_story(console, run)
    show_summary(console, run)
    console.print(
        "\nNow serve it yourself, and score the trace above again (`kill $!` stops the server):\n", highlight=False
    )
    # Where the environment is not active, as after `make demo`, the bare name would not be found.
    console.print(f"  {server_command()} serve &", highlight=False, markup=False, soft_wrap=True)
    console.print("  until curl -sf localhost:8000/readyz > /dev/null; do sleep 1; done", highlight=False)
    console.print(f"  {_curl(sampled[index_to_show(run)])}", highlight=False, markup=False, soft_wrap=True)


def server_command() -> str:
    """What starts this command line from the shell that started the demo."""
    beside, found = Path(sys.executable).with_name("mrt-reward"), shutil.which("mrt-reward")
    if not beside.exists() or (found and Path(found).samefile(beside)):
        return "mrt-reward"
    return shlex.quote(str(beside))


def _curl(sampled: SampledTrace) -> str:
    """A command that scores this trace."""
    trace = {
        "id": "1",
        "problem": sampled.problem.text,
        "answer": str(sampled.problem.answer),
        "completion": sampled.completion,
    }
    body = shlex.quote(json.dumps({"traces": [trace]}))
    return f"curl -sS localhost:8000/v1/score -H 'content-type: application/json' -d {body} | python3 -m json.tool"
