"""Tokens that probes compute on an engine whose cache holds the traces, per token that the step generated.

    .venv-vllm/bin/python -m tests.bench.bench_shared_cache [--block-size 32] [--episodes 8 4 2] [--real 4]

vLLM's own server has the bundled model and writes a step: 8 problems, 8 traces each. The service asks it as veRL's
`url=rollout` asks a replica. Long traces are real ones (the longest of Qwen3-32B's in the folder MRT_REWARD_TEST_DATA
that fit) in the bundled model's tokens, once with their gold answer, a letter, of which likelihoods ask for many
spellings, and once with a number; the server reads each one once, which leaves in its cache what writing it would have.
All counts are differences of the server's own /metrics:

    computed   prompt tokens that were in no cached block, and for rollouts the answers' tokens
    share      computed, over the tokens of the step's responses, prompts not counted
    from       tokens of a trace from which on the share is at most 15 %, at the same work for each trace
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from mrt_reward.benchmark.serving import VLLM_ON_CPU, vllm_server
from mrt_reward.config import load_settings
from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.island import sample_problems
from mrt_reward.options import BalancedSegmenter, Likelihood, Rollouts, ScoreOptions
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.types import Trace
from mrt_reward.wiring import build_scorer

BAR = 0.15
CONTEXT = 16_384
PROBLEMS, SAMPLES = 8, 8
ESTIMATORS = {"likelihood": Likelihood(), "rollouts, 4 answers": Rollouts("rollouts", num_samples=4)}
COUNTED = ("prefix_cache_queries", "prefix_cache_hits", "generation_tokens")


@dataclass(frozen=True)
class Cost:
    """Of scoring a step once, in tokens."""

    asked: int
    cached: int
    generated: int

    @property
    def computed(self) -> int:
        """Prompt tokens that were not cached."""
        return self.asked - self.cached


class Server:
    """vLLM's own, at its address."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def write(self, prompt_ids: Sequence[int], num: int, max_tokens: int, seed: int) -> list[list[int]]:
        """Ids of completions."""
        asked: dict[str, Any] = {
            "model": "prover", "prompt": list(prompt_ids), "n": num, "max_tokens": max_tokens, "temperature": 1.0,
            "seed": seed, "return_tokens_as_token_ids": True, "logprobs": 0,
        }  # fmt: skip
        reply = (await self._http.post("/v1/completions", json=asked)).raise_for_status().json()
        reported = [choice["logprobs"]["tokens"] for choice in reply["choices"]]
        return [[int(name.removeprefix("token_id:")) for name in names] for names in reported]

    async def hold(self, traces: Sequence[Trace]) -> None:
        """Have these traces in the cache, and nothing else."""
        (await self._http.post("/reset_prefix_cache")).raise_for_status()
        for trace in traces:
            await self.write([*_ids(trace.prompt_ids), *_ids(trace.completion_ids)], 1, 1, 0)

    async def counts(self) -> dict[str, int]:
        """The counters so far."""
        text = (await self._http.get("/metrics")).raise_for_status().text
        found = {name: re.findall(rf"^vllm:{name}_total{{.*}} (\S+)$", text, re.MULTILINE) for name in COUNTED}
        return {name: int(float(value)) for name, [value] in found.items()}


def _ids(ids: Any) -> list[int]:
    return [] if ids is None else ids.tolist()


def real_traces(folder: Path, num: int, tokenizer: HFTokenizer) -> list[Trace]:
    """The longest that leave room for an answer."""
    made: list[Trace] = []
    with (folder / "traces_qwen3_32b.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            prompt = tokenizer.encode_trusted(template.prompt_text(row["problem"]))
            thinking = row["completion"].removeprefix("<think>").lstrip("\n")
            response = tokenizer.encode_trusted(thinking)
            if len(prompt) + len(response) < CONTEXT - 256:
                made.append(_trace(len(made), prompt.tolist(), response.tolist(), row["answer"], tokenizer))
    return sorted(made, key=lambda trace: -len(_ids(trace.completion_ids)))[:num]


def _trace(  # fields of a record
    index: int, prompt: Sequence[int], response: Sequence[int], answer: str, tokenizer: HFTokenizer
) -> Trace:
    return Trace(
        str(index),
        prompt_ids=np.array(prompt, np.int32),
        completion_ids=np.array(response, np.int32),
        tokenizer=tokenizer.sha256,
        answer=(str(answer),),
        session=str(index),
    )


async def written(server: Server, tokenizer: HFTokenizer) -> list[Trace]:
    """A step of the bundled model's, as the server writes it."""
    made: list[Trace] = []
    for seed, problem in enumerate(sample_problems(PROBLEMS, seed=5)):
        prompt = tokenizer.encode_trusted(template.prompt_text(problem.text)).tolist()
        for response in await server.write(prompt, SAMPLES, 220, seed):
            made.append(_trace(len(made), prompt, response, str(problem.answer), tokenizer))
    return made


async def scored(server: Server, url: str, traces: Sequence[Trace], options: ScoreOptions) -> Cost:
    """What it takes to score them, by a service that knows none of them yet."""
    await server.hold(traces)
    service = build_scorer(load_settings(engine="openai", engine_url=url, tokenizer=str(MODEL_DIR), log_format="off"))
    try:
        await service.check()
        ready = await server.counts()
        for trace in await service.score(traces, options):
            if trace.error is not None:
                raise SystemExit(f"trace {trace.id}: {trace.error}")
    finally:
        await service.close()
    after = await server.counts()
    return Cost(*(after[name] - ready[name] for name in COUNTED))


async def measure(chosen: argparse.Namespace) -> None:
    """Print the rows."""
    tokenizer = HFTokenizer(MODEL_DIR)
    flags = [
        "--hf-overrides", json.dumps({"head_dtype": "float32"}), "--dtype", "float32", "--enforce-eager",
        "--block-size", str(chosen.block_size),
        "--max-model-len", str(CONTEXT), "--max-num-batched-tokens", str(CONTEXT),
        # vLLM 0.32 on a CPU dies of a seeded request whose prompt it works through in parts.
        "--no-enable-chunked-prefill",
    ]  # fmt: skip
    environment = {**VLLM_ON_CPU, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_SERVER_DEV_MODE": "1", "OMP_NUM_THREADS": "1"}
    async with (
        vllm_server(MODEL_DIR, flags, environment) as (url, _),
        httpx.AsyncClient(base_url=url, timeout=600) as http,
    ):
        server = Server(http)
        steps = {"mini's own": await written(server, tokenizer)}
        if chosen.data:
            real = real_traces(Path(chosen.data), chosen.real, tokenizer)
            steps["real, gold a letter"] = real
            steps["real, gold 42"] = [replace(trace, answer=("42",)) for trace in real]
        for name, traces in steps.items():
            lengths = [len(_ids(trace.completion_ids)) for trace in traces]
            for episodes in chosen.episodes:
                for estimator, how in ESTIMATORS.items():
                    options = ScoreOptions(segmenter=BalancedSegmenter(max_episodes=episodes), estimator=how)
                    cost = await scored(server, url, traces, options)
                    computed = cost.computed + (cost.generated if estimator != "likelihood" else 0)
                    share, least = computed / sum(lengths), computed / len(traces) / BAR
                    cells = [name, f"{len(traces)} of {np.mean(lengths):.0f}", chosen.block_size, episodes, estimator]
                    cells += [cost.asked, cost.cached, cost.computed, cost.generated, f"{share:.1%}"]
                    cells += [f"{least:.0f}", "yes" if share <= BAR else "no"]
                    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--block-size", type=int, default=32, help="of vLLM's cache, in tokens; on a CPU a multiple of 32"
    )
    parser.add_argument("--episodes", type=int, nargs="+", default=[8, 4, 2], help="most of a trace")
    parser.add_argument("--data", default=os.environ.get("MRT_REWARD_TEST_DATA"), help="folder of real traces")
    parser.add_argument("--real", type=int, default=4, help="real traces")
    chosen = parser.parse_args()
    heads = ["traces", "number and mean tokens", "block", "episodes at most", "estimator"]
    heads += ["asked", "cached", "computed", "generated", "share", "from", "at most 15 %"]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    asyncio.run(measure(chosen))


if __name__ == "__main__":
    main()
