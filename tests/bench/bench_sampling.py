"""Tokens per CPU-second of the embedded engine that samples an evaluation: each problem alone, and all side by side.

    python -m tests.bench.bench_sampling [--problems 16] [--traces 8] [--rounds 3]

Problems and model are the bundled ones, one thread, both ways in turn. It ends with an error where a trace differs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from mrt_reward.engine_settings import EngineSettings
from mrt_reward.mini import MODEL_DIR, template
from mrt_reward.mini.island import sample_problems
from mrt_reward.protocols import Probe, ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.hf.loading import load
from mrt_reward.provers.hf.model import PackedModel

Answers = list[tuple[ProbeAnswer, ...]]


def alone(model: PackedModel, proofs: Sequence[Proof]) -> Answers:
    return [model.prove(proof, lambda: None)[0] for proof in proofs]


def side_by_side(model: PackedModel, proofs: Sequence[Proof]) -> Answers:
    samplings = [
        model.sample(proof, proof.query, lambda: None) for proof in proofs if isinstance(proof.query, RolloutQuery)
    ]
    while live := [each for each in samplings if each.growing is not None]:
        model.grow(live)
    return [tuple(each.answers) for each in samplings]


def main() -> None:
    """Print tokens per CPU-second of both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--traces", type=int, default=8, help="of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load(EngineSettings(model=str(MODEL_DIR), device="cpu"))
    query = RolloutQuery(chosen.traces, 0.6, 0.95, 16_384, stop_at_close=False)
    proofs: list[Proof] = []
    for seed, problem in enumerate(sample_problems(chosen.problems, seed=5)):
        ids = np.array(loaded.tokenizer.encode_trusted(template.prompt_text(problem.text)), np.int32)
        proofs.append(Proof(ids[:-1], (Probe(len(ids) - 1, (int(ids[-1]),), seed),), query))
    network = loaded.model.side_by_side
    assert network is not None
    ways: dict[str, Callable[[PackedModel, Sequence[Proof]], Answers]] = {"alone": alone, "side by side": side_by_side}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    reported: dict[str, Answers] = {}
    for _ in range(chosen.rounds):
        for name, way in ways.items():
            began = time.process_time()
            reported[name] = way(network, proofs)
            num_tokens = sum(len(ids) for answers in reported[name] for ids in answers[0].completions)
            speeds[name].append(num_tokens / (time.process_time() - began))
    if reported["alone"] != reported["side by side"]:
        raise SystemExit("what was sampled alone and side by side differs")
    for name, measured in speeds.items():
        print(f"{name:13} {statistics.median(measured):7.0f} tokens per CPU-second")
    ratios = [ours / theirs for ours, theirs in zip(speeds["side by side"], speeds["alone"], strict=True)]
    print(f"side by side / alone: {statistics.median(ratios):.2f}, rounds {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
