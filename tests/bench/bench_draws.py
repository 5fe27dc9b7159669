"""What coupling costs: CPU time of drawing a token, and of whole rollouts, coupled over plain.

    python -m tests.bench.bench_draws [--rounds 9]

Both ways are timed in turn in one process and on one thread, so that what else the machine does meets them alike; what
is printed is the median over the rounds. Logits are normal, spread so that the distribution has about as much entropy
as a language model's: 1 to 2 nats at temperature 1. The rollouts are those of the embedded engine, on the bundled model
and on networks of its size with larger vocabularies: a small network makes what is drawn the largest share there is.

Dimension key: R rows · V vocabulary · M answers of a row.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.mini import MODEL_DIR
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.protocols import Proof, RolloutQuery
from mrt_reward.provers.draws import draw, draw_coupled
from mrt_reward.provers.hf import TransformersProver
from mrt_reward.provers.noise import Address
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.service.jobs import prepare
from mrt_reward.types import Trace

NUM_ROWS, NUM_ANSWERS = 8, 4
QUERY = RolloutQuery(NUM_ANSWERS, temperature=1.0, top_p=1.0, max_tokens=12, stop_at_close=False)
SPREAD = 6.0
"""Standard deviation of the logits."""


def rounds(ways: Mapping[str, Callable[[int], int]], num_rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of each way, in each round, for each unit of the work that it says it did."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, num_rounds):  # the first is thrown away
        for name, way in ways.items():
            began = time.process_time()
            num_units = way(number)
            if number >= 0:
                found[name].append(1e3 * (time.process_time() - began) / num_units)
    return found


def show(what: str, found: Mapping[str, list[float]]) -> None:
    plain, coupled = (statistics.median(found[name]) for name in ("plain", "coupled"))
    ratio = statistics.median(c / p for c, p in zip(found["coupled"], found["plain"], strict=True))
    print(f"{what:52} {plain:9.3f} {coupled:9.3f} {ratio:6.2f}", flush=True)


def measure_draws(size: int, query: RolloutQuery, num_rounds: int) -> None:
    """One token for each of R · M answers, whose rows are drawn at once, as in a decoding step."""
    torch.manual_seed(size)
    logits_RV = torch.randn(NUM_ROWS, size) * SPREAD
    rows = [row for row in range(NUM_ROWS) for _ in range(NUM_ANSWERS)]

    def plain(number: int) -> int:
        rng = np.random.default_rng(number + 1)
        for _ in range(3):
            draw(logits_RV, rng.random((NUM_ROWS, NUM_ANSWERS)), query)
        return 3 * len(rows)

    def coupled(number: int) -> int:
        for position in range(3):
            addresses = [Address(number + 1, answer % NUM_ANSWERS, position) for answer in range(len(rows))]
            draw_coupled(logits_RV, rows, addresses, query)
        return 3 * len(rows)

    show(f"draw, V = {size:,}, top_p {query.top_p:g}", rounds({"plain": plain, "coupled": coupled}, num_rounds))


def network(size: int, folder: Path) -> Path:
    """A checkpoint of the bundled model's shape with this vocabulary, whose logits are spread as a trained one's."""
    shutil.copytree(MODEL_DIR, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.manual_seed(size)
    config = LlamaConfig.from_pretrained(MODEL_DIR, vocab_size=size, tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    # The head reads vectors of norm √hidden.
    torch.nn.init.normal_(model.lm_head.weight, std=SPREAD / config.hidden_size**0.5)
    model.save_pretrained(folder)
    return folder


def proofs(num_problems: int) -> list[Proof]:
    """Traces of the bundled model's writer, cut where its episodes end."""
    rng = np.random.default_rng(11)
    tokenizer = HFTokenizer(MODEL_DIR)
    found: list[Proof] = []
    for problem in sample_problems(num_problems, seed=11):
        thought = write_thinking(problem, BASE_SLOPPINESS, rng).text
        asked = Trace("0", problem=problem.text, completion=f"<think>\n{thought}</think>\n\n", answer=("1",))
        job = prepare(
            asked, ScoreOptions(estimator=Rollouts("rollouts")), tokenizer, ExactGrader(), lambda gold: (gold,)
        )
        found.append(job.proof(range(len(job.cuts)), job.seeds()))
    return found


async def measure_rollouts(name: str, folder: Path, query: RolloutQuery, num_rounds: int) -> None:
    """Rollouts of a few traces, for each prefix."""
    prover = TransformersProver(EngineSettings(model=str(folder), threads=1))
    loop = asyncio.get_running_loop()
    asked = proofs(4)

    def way(number: int, *, coupled: bool) -> int:
        for proof in asked:
            rng = np.random.default_rng(number + 1)
            seeds = (
                [number + 1] * len(proof.probes) if coupled else rng.integers(2**32, size=len(proof.probes)).tolist()
            )
            probes = tuple(replace(probe, seed=seed) for probe, seed in zip(proof.probes, seeds, strict=True))
            one = Proof(proof.token_ids, probes, replace(query, coupled=coupled))
            asyncio.run_coroutine_threadsafe(prover.prove(one), loop).result()
        return sum(len(proof.probes) for proof in asked)

    ways = {"plain": lambda number: way(number, coupled=False), "coupled": lambda number: way(number, coupled=True)}
    try:
        found = await asyncio.to_thread(rounds, ways, num_rounds)
    finally:
        await prover.close()
    show(f"rollouts, {name}, top_p {query.top_p:g}", found)


async def measure_engines(num_rounds: int) -> None:
    boxed = replace(QUERY, max_tokens=64, stop_at_close=True)
    with tempfile.TemporaryDirectory() as root:
        for top_p in (1.0, 0.95):
            await measure_rollouts("mini, V = 4,096, boxed", MODEL_DIR, replace(boxed, top_p=top_p), num_rounds)
        for size in (32_768, 152_064):
            folder = network(size, Path(root) / str(size))
            for top_p in (1.0, 0.95):
                await measure_rollouts(f"random, V = {size:,}", folder, replace(QUERY, top_p=top_p), num_rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of each pair of timings")
    num_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{'CPU ms of a token of an answer, or of a prefix':52} {'plain':>9} {'coupled':>9} {'ratio':>6}")
    for size in (4_096, 32_768, 152_064, 262_144):
        for top_p in (1.0, 0.95):
            measure_draws(size, replace(QUERY, top_p=top_p), num_rounds)
    asyncio.run(measure_engines(num_rounds))


if __name__ == "__main__":
    main()
