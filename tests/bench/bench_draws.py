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
from mrt_reward.mini import MODEL_DIR
from mrt_reward.protocols import Probe, Proof, RolloutQuery
from mrt_reward.provers.draws import draw, draw_coupled
from mrt_reward.provers.hf import TransformersProver
from mrt_reward.provers.noise import Address

NUM_ROWS, NUM_ANSWERS, NUM_PROBES = 8, 4, 6
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


async def measure_rollouts(name: str, folder: Path, query: RolloutQuery, num_rounds: int) -> None:
    """Rollouts of traces of 400 tokens, for each token run through the network."""
    prover = TransformersProver(EngineSettings(model=str(folder)), num_threads=1)
    loop = asyncio.get_running_loop()

    def way(number: int, *, coupled: bool) -> int:
        rng = np.random.default_rng(number + 1)
        probes = tuple(Probe(cut, (7, 8), int(rng.integers(2**32))) for cut in np.linspace(50, 400, NUM_PROBES, dtype=int))
        if coupled:
            probes = tuple(replace(probe, seed=number + 1) for probe in probes)
        asked = Proof(rng.integers(3, 4000, 400).astype(np.int32), probes, replace(query, coupled=coupled))
        return asyncio.run_coroutine_threadsafe(prover.prove(asked), loop).result().computed_tokens

    ways = {"plain": lambda number: way(number, coupled=False), "coupled": lambda number: way(number, coupled=True)}
    try:
        found = await asyncio.to_thread(rounds, ways, num_rounds)
    finally:
        await prover.close()
    show(f"rollouts, {name}, top_p {query.top_p:g}", found)


async def measure_engines(num_rounds: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        folders = {"mini, V = 4,096": MODEL_DIR}
        folders |= {f"random, V = {size:,}": network(size, Path(root) / str(size)) for size in (32_768, 152_064)}
        for name, folder in folders.items():
            for top_p in (1.0, 0.95):
                await measure_rollouts(name, folder, replace(QUERY, top_p=top_p), num_rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of each pair of timings")
    num_rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{'CPU ms of an answer’s token, or of a token computed':52} {'plain':>9} {'coupled':>9} {'ratio':>6}")
    for size in (4_096, 32_768, 152_064, 262_144):
        for top_p in (1.0, 0.95):
            measure_draws(size, replace(QUERY, top_p=top_p), num_rounds)
    asyncio.run(measure_engines(num_rounds))


if __name__ == "__main__":
    main()
