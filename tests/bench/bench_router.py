"""Two vLLM engines behind vllm-router: what each policy computes of prompts, and which traces fail when one is killed.

    make bench-router        # .venv-vllm/bin/python -m tests.bench.bench_router --router .venv-router/bin/vllm-router

Two servers of vLLM have the bundled model, caches that hold a part of the step, and nothing else to do. The service
scores the same step through engine `openai` each way, from empty caches: with both servers in `--engine-url`, and with
vllm-router's address there. All counts are differences of the servers' own /metrics, both servers together:

    asked      prompt tokens of all requests
    cached     those whose keys and values were in the server's cache; of all asked, the hit rate
    computed   the others
    needed     tokens of the prefixes' tree: what one cache of any size and with blocks of one token would compute

Then one server is killed, with its processes, while it works and others wait; what was in flight there is lost. A trace
failed where its reply has an error. Values are compared with those of the first, undisturbed run. For by hand: minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass

import httpx
import numpy as np
import structlog

from mrt_reward.benchmark.serving import VLLM_ON_CPU, ServerProcess, free_port, running, vllm_command
from mrt_reward.benchmark.workload import Work, WorkSpec, make_work
from mrt_reward.config import load_settings
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import Estimator, Likelihood, Rollouts
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.types import ScoredTrace
from mrt_reward.wiring import build_scorer

NUM_ENGINES = 2
ALL = 1_000_000
"""Traces at once."""

MAX_WAIT_S = 600.0
ESTIMATORS: dict[str, Estimator] = {
    "likelihood": Likelihood(),
    "rollouts, in rounds": Rollouts("rollouts", num_samples=4, mean_samples=2, max_tokens=8),
}
ENGINE_FLAGS = (
    "--hf-overrides", json.dumps({"head_dtype": "float32"}), "--dtype", "float32", "--enforce-eager",
    "--block-size", "32", "--max-model-len", "4096", "--max-num-batched-tokens", "4096", "--max-num-seqs", "16",
    # vLLM 0.32 on a CPU dies of a seeded request whose prompt it works through in parts.
    "--no-enable-chunked-prefill",
)  # fmt: skip
ENGINE_ENVIRONMENT = {
    **VLLM_ON_CPU,
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # The route that empties the cache.
    "VLLM_SERVER_DEV_MODE": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True)
class Way:
    """How a request finds its engine: by a policy of vllm-router, or by none where `--engine-url` lists the engines."""

    policy: str = ""

    def __str__(self) -> str:
        """As the tables show it."""
        return f"vllm-router, `{self.policy}`" if self.policy else "no router, `--engine-url A,B`"


NO_ROUTER = Way()
WAYS = (NO_ROUTER, Way("consistent_hash"), Way("round_robin"), Way("cache_aware"))
KILLED = ((NO_ROUTER, ALL), (Way("consistent_hash"), ALL), (Way("consistent_hash"), 1))
"""And how many traces are scored at once."""


@dataclass(frozen=True)
class Counts:
    """Of one of vLLM's servers, from its /metrics; prompts that it answered, and those that it holds now."""

    asked: int
    cached: int
    answered: int
    held: int


COUNTERS = (
    "prefix_cache_queries_total",
    "prefix_cache_hits_total",
    "request_success_total",
    "num_requests_(?:running|waiting)",
)


@dataclass(frozen=True)
class Engine:
    """One of vLLM's servers."""

    url: str
    server: ServerProcess
    http: httpx.AsyncClient

    async def emptied(self) -> Counts:
        """Its counts, after its cache was emptied."""
        (await self.http.post(f"{self.url}/reset_prefix_cache")).raise_for_status()
        return await self.counts()

    async def counts(self) -> Counts:
        """So far."""
        text = (await self.http.get(f"{self.url}/metrics")).raise_for_status().text
        found = [re.findall(rf"^vllm:{name}{{.*}} (\S+)$", text, re.MULTILINE) for name in COUNTERS]
        return Counts(*(sum(int(float(value)) for value in values) for values in found))


async def started(stack: AsyncExitStack, http: httpx.AsyncClient, num: int, num_blocks: int) -> list[Engine]:
    """New engines, which end with the stack."""
    flags = [*ENGINE_FLAGS, "--num-gpu-blocks-override", str(num_blocks)]
    engines: list[Engine] = []
    for _ in range(num):
        port = free_port()
        server = await stack.enter_async_context(running(vllm_command(MODEL_DIR, port, flags), ENGINE_ENVIRONMENT))
        engines.append(Engine(f"http://127.0.0.1:{port}", server, http))
    for engine in engines:
        await engine.server.answers(f"{engine.url}/health")
    return engines


@asynccontextmanager
async def addressed(way: Way, engines: Sequence[Engine], router: str) -> AsyncGenerator[str]:
    """What `--engine-url` says."""
    urls = [engine.url for engine in engines]
    if not way.policy:
        yield ",".join(urls)
        return
    port = free_port()
    command = [router, "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *urls, "--policy", way.policy]
    command += ["--prometheus-port", str(free_port()), "--log-level", "error"]
    async with running(command, {}) as server:
        await server.answers(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"


async def scored(
    url: str, work: Work, ready: Callable[[], Awaitable[None]], at_once: int = ALL
) -> Sequence[ScoredTrace]:
    """What a service gives that knows none of the traces yet; `ready` is called once it knows its endpoints."""
    scores: list[ScoredTrace] = []
    service = build_scorer(load_settings(engine="openai", engine_url=url, tokenizer=str(MODEL_DIR), log_format="off"))
    try:
        await service.check()
        await ready()
        for start in range(0, len(work.traces), at_once):
            scores += await service.score(work.traces[start : start + at_once], work.options)
        return scores
    finally:
        await service.close()


ENDS = ("failed", "values differ by")


def ending(scores: Sequence[ScoredTrace], others: Sequence[ScoredTrace]) -> tuple[int, str]:
    """How many traces failed, and the largest difference of the values of the others from those of another run."""
    for error in {trace.error.message for trace in scores if trace.error is not None}:
        print(f"failed: {error}", file=sys.stderr)
    pairs = [
        (value.value, other.value)
        for one, two in zip(scores, others, strict=True)
        if one.error is None and two.error is None
        for value, other in zip(one.values, two.values, strict=True)
    ]
    if any(value is None or other is None for value, other in pairs):
        raise SystemExit("a trace without an error lacks a value")
    difference = np.abs(np.diff(np.array(pairs, np.float64), axis=1)).max()
    return sum(trace.error is not None for trace in scores), f"{difference:.0e}"


def tell(*cells: object) -> None:
    """Print a row of a table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


async def compare(work: Work, estimator: str, engines: Sequence[Engine], router: str) -> Sequence[ScoredTrace]:
    """Print a row for each way; returns the scores of the first."""
    first: Sequence[ScoredTrace] = ()
    before: list[Counts] = []

    async def ready() -> None:
        before[:] = [await engine.emptied() for engine in engines]

    for way in WAYS:
        async with addressed(way, engines, router) as url:
            scores = await scored(url, work, ready)
            after = [await engine.counts() for engine in engines]
        first = first or scores
        moved = [np.subtract(astuple(now), astuple(then)) for now, then in zip(after, before, strict=True)]
        asked, cached, answered, _ = (int(count) for count in np.sum(moved, axis=0))
        computed, busiest = asked - cached, max(int(each[2]) for each in moved)
        needed = work.needed_tokens
        tell(
            *(estimator, needed, way, asked, f"{cached / asked:.1%}", computed, f"{computed / needed:.2f}"),
            *(f"{busiest / answered:.0%}", *ending(scores, first)),
        )
    return first


async def kill_one(
    work: Work, way: Way, at_once: int, engines: Sequence[Engine], router: str
) -> tuple[Sequence[ScoredTrace], int]:
    """Scores of a run in which the last engine is killed, and the number of prompts that it held."""
    victim = engines[-1]
    begun = asyncio.Event()
    before: list[Counts] = []

    async def ready() -> None:
        before[:] = [await engine.emptied() for engine in engines]
        begun.set()

    async with addressed(way, engines, router) as url:
        scoring = asyncio.create_task(scored(url, work, ready, at_once))
        await asyncio.wait([scoring, asyncio.create_task(begun.wait())], return_when=asyncio.FIRST_COMPLETED)
        while not scoring.done():
            now = await victim.counts()
            # One trace alone is seldom seen at work.
            if now.answered > before[-1].answered and (now.held or at_once == 1):
                await victim.server.kill()
                return await scoring, now.held
    raise SystemExit("the step was scored before an engine could be killed: give it more --problems")


async def measure(chosen: argparse.Namespace) -> None:
    """Print both tables."""
    spec = WorkSpec(chosen.problems, chosen.traces, chosen.episodes, chosen.episode_tokens)
    tokenizer = HFTokenizer(MODEL_DIR)
    works = {name: make_work(spec, tokenizer, estimator) for name, estimator in ESTIMATORS.items()}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=MAX_WAIT_S))
        engines = await started(stack, http, NUM_ENGINES, chosen.blocks)
        tell("estimator", "needed", "way", "asked", "hit rate", "computed", "computed / needed", "busiest", *ENDS)
        tell(*["---"] * 10)
        undisturbed = {name: await compare(work, name, engines, chosen.router) for name, work in works.items()}
        print("\nOne engine killed while it works:\n")
        tell("way", "traces", "at once", "prompts it held", *ENDS)
        tell(*["---"] * 6)
        work = works["likelihood"]
        for way, at_once in KILLED:
            engines += await started(stack, http, NUM_ENGINES - len(engines), chosen.blocks)
            scores, num_held = await kill_one(work, way, at_once, engines, chosen.router)
            engines.pop()
            num_traces = len(scores)
            tell(way, num_traces, min(at_once, num_traces), num_held, *ending(scores, undisturbed["likelihood"]))


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--router", default=".venv-router/bin/vllm-router", help="the command")
    parser.add_argument("--problems", type=int, default=6)
    parser.add_argument("--traces", type=int, default=4, help="of each problem")
    parser.add_argument("--episodes", type=int, default=8, help="of each trace")
    parser.add_argument("--episode-tokens", type=int, default=100)
    parser.add_argument("--blocks", type=int, default=400, help="of each engine's cache, of 32 tokens")
    # Tables alone go to standard output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
