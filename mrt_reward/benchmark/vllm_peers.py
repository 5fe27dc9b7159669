"""The peers that need vLLM here: its own server for those over HTTP, and the authors' shape in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrt_reward.benchmark.peers import PlainClient, client_of, over_http
from mrt_reward.benchmark.plan import WARM_UP, BenchPlan, measure
from mrt_reward.benchmark.processes import Cost
from mrt_reward.benchmark.results import BenchResults
from mrt_reward.benchmark.rows import Done, Way
from mrt_reward.benchmark.serving import ONE_PROCESS, VLLM_ON_CPU, vllm_server
from mrt_reward.benchmark.workload import Work, apart, first_problems, make_work
from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Tokenizer
from mrt_reward.provers.checkpoints import resolve_folder
from mrt_reward.provers.vllm.engine import engine_arguments

AUTHORS = "(b) a blocking generate a trace, n = 8"
NUM_SAMPLES = 8

SAME_WORK = ("dtype", "block_size", "enforce_eager", "max_model_len", "kv_cache_memory_bytes")
"""Of our engine's arguments, the ones that peers always get too, as they say how much there is to compute."""

SAME_PROCESSES = (*SAME_WORK, "distributed_executor_backend")
"""The ones that also say in how many processes."""

AS_IT_COMES = "vLLM's defaults"
LIKE_OURS = "our executor"


def shared_arguments(settings: ServeSettings, names: Sequence[str]) -> dict[str, Any]:
    """Engine arguments of the peers; the rest is vLLM's default."""
    ours = engine_arguments(settings, _folder(settings), {})
    return {name: ours[name] for name in names if ours.get(name) is not None}


def _folder(settings: ServeSettings) -> Path:
    return resolve_folder(str(settings.model or MODEL_DIR), settings.revision)


async def measure_over_http(
    settings: ServeSettings, tokenizer: Tokenizer, plan: BenchPlan, results: BenchResults
) -> None:
    """(a), (c) and (d): on vLLM's server as it comes, and on one that has its engine in as few processes as ours."""
    for label, names, environment in (
        (AS_IT_COMES, SAME_WORK, VLLM_ON_CPU),
        (LIKE_OURS, SAME_PROCESSES, VLLM_ON_CPU | ONE_PROCESS),
    ):
        results.tell(f"vllm, server: starting vLLM's own, with {label}")
        with results.surviving(Way("peer", f"vLLM's own server; {label}", "server", "vllm", "likelihood")):
            flags = ["--enable-prompt-tokens-details", "--disable-log-stats"]
            for name, value in shared_arguments(settings, names).items():
                flag = f"--{name.replace('_', '-')}"
                flags += [flag] if value is True else [flag, str(value)]
            async with vllm_server(_folder(settings), flags, environment) as (url, last_words), client_of(url) as http:
                await measure(over_http(PlainClient(http, last_words), tokenizer, plan, label), results)


async def measure_authors(
    settings: ServeSettings, tokenizer: Tokenizer, plan: BenchPlan, results: BenchResults
) -> None:
    """(b), on the first problem."""
    results.tell(f"vllm, in process: {AUTHORS}")
    way = Way("peer", AUTHORS, "in process", "vllm", "free answers")
    with results.surviving(way):
        work = make_work(apart(first_problems(plan.spec, 1), 400), tokenizer, plan.estimator("rollouts"), "official")
        warm_up = make_work(apart(first_problems(plan.spec, 1), 400 + WARM_UP), tokenizer)
        figures_of = await _in_a_process(
            {
                "engine": {
                    "model": str(_folder(settings)),
                    "disable_log_stats": True,
                    **shared_arguments(settings, SAME_PROCESSES),
                },
                "num_samples": NUM_SAMPLES,
                "max_tokens": plan.free_tokens,
                "traces": _ids(work),
                "warm_up": [[ids[:64] for ids in _ids(warm_up.first(1))[0]]],
            }
        )
        done = Done(
            work.num_prefixes,
            figures_of["computed_tokens"],
            work.needed_tokens + round(work.num_prefixes * NUM_SAMPLES * (figures_of["answer_tokens"] - 1)),
            figures_of["answer_tokens"],
        )
        results.add(way, done, Cost(**figures_of["cost"]))


def _ids(work: Work) -> list[list[list[int]]]:
    return [[ids.tolist() for ids in row] for row in work.prompts_by_trace]


async def _in_a_process(asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mrt-reward-bench-") as folder:
        source, target, log = (Path(folder) / name for name in ("asked.json", "told.json", "log"))
        source.write_text(json.dumps(asked))
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mrt_reward.benchmark.vllm_authors", str(source), str(target)),
                stdout=output,
                stderr=output,
                env={**os.environ, **VLLM_ON_CPU, **ONE_PROCESS},
            )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ConfigError(f"the authors' shape did not run: {log.read_text(errors='replace')[-2000:].strip()}")
        return json.loads(target.read_text())
