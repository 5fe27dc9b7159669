"""Prefixes per CPU-second of the embedded engine, against a forward per prefix and one full forward.

    python -m tests.bench.bench_prefixes [--dtype bfloat16] [--large] [--rounds 5]

(a) plain: one forward per terminated prefix, nothing shared. (b) one full forward per trace over
as many tokens as are unique in it, with logits for as many rows as the answers need. Process CPU time with one thread,
modes interleaved trace by trace, median over rounds. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import transformers

from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, SpellingIds
from mrt_reward.provers.hf.kv_cache import ATTENTION
from mrt_reward.provers.hf.loading import with_full_precision_head
from mrt_reward.provers.hf.model import PackedModel
from mrt_reward.provers.likelihood import spelling_tree
from mrt_reward.provers.stops import Stops

NUM_TRACES, NUM_PREFIXES, NUM_SUFFIX = 24, 12, 11
MINI = {"vocab_size": 4096, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4}
MINI_HEADS = {"num_attention_heads": 3, "num_key_value_heads": 3}
LARGE = {"vocab_size": 16_384, "hidden_size": 640, "intermediate_size": 1792, "num_hidden_layers": 10}
LARGE_HEADS = {"num_attention_heads": 10, "num_key_value_heads": 2}
QUERY = LikelihoodQuery((SpellingIds((90, 17, 18), (92, 93)),))


def build(folder: Path, *, large: bool, dtype: str) -> tuple[PackedModel, Any]:
    """The same weights twice: as the engine runs them, and as transformers does."""
    torch.manual_seed(0)
    settings = {**LARGE, **LARGE_HEADS} if large else {**MINI, **MINI_HEADS}
    config = cast("Any", transformers).Qwen2Config(**settings, max_position_embeddings=4096, tie_word_embeddings=True)
    cast("Any", transformers).Qwen2ForCausalLM(config).save_pretrained(folder)
    load = cast("Any", transformers.AutoModelForCausalLM).from_pretrained
    kind = getattr(torch, dtype)
    engine = with_full_precision_head(load(folder, dtype=kind, attn_implementation=ATTENTION).eval())
    plain = load(folder, dtype=kind, attn_implementation="sdpa").eval()
    return PackedModel(engine, 4096, Stops(frozenset(), {})), plain


def make_proofs(num_traces: int) -> list[Proof]:
    rng = np.random.default_rng(0)
    proofs: list[Proof] = []
    for _ in range(num_traces):
        size = int(rng.integers(600, 1500))
        cuts = np.sort(rng.choice(np.arange(80, size), NUM_PREFIXES - 1, replace=False))
        probes = tuple(Probe(int(cut), tuple(rng.integers(0, 4096, NUM_SUFFIX).tolist())) for cut in [*cuts, size])
        proofs.append(Proof(rng.integers(0, 4096, size=size, dtype=np.int32), probes, QUERY))
    return proofs


@torch.inference_mode()
def prove_plainly(model: Any, proof: Proof) -> list[list[float]]:
    rows: list[list[float]] = []
    for probe in proof.probes:
        row: list[float] = []
        for spelling in QUERY.spellings:
            ids = [*proof.token_ids[: probe.cut].tolist(), *probe.suffix, *spelling.ids]
            num = len(spelling.ids)
            logprobs = (
                model(torch.tensor([ids]), use_cache=False, logits_to_keep=num + 1).logits[0].float().log_softmax(-1)
            )
            total = logprobs[torch.arange(num), torch.tensor(spelling.ids)].sum()
            row.append(float(total + logprobs[-1, list(spelling.close)].logsumexp(0)))
        rows.append(row)
    return rows


@torch.inference_mode()
def run_forward(model: Any, proof: Proof) -> None:
    num_nodes = len(spelling_tree(QUERY.spellings).tokens)
    size = len(proof.token_ids) + sum(len(probe.suffix) + num_nodes for probe in proof.probes)
    model(torch.zeros(1, size, dtype=torch.long), use_cache=False, logits_to_keep=len(proof.probes) * (num_nodes + 1))


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def largest_difference(engine: PackedModel, plain: Any, proof: Proof) -> float:
    packed = [answer.spelling_logprobs for answer in engine.prove(proof, lambda: None)[0]]
    return float(np.abs(np.array(packed) - np.array(prove_plainly(plain, proof))).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--large", action="store_true", help="a model of 60 M parameters instead of 3 M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--traces", type=int, default=NUM_TRACES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        engine, plain = build(Path(folder), large=arguments.large, dtype=arguments.dtype)
    proofs = make_proofs(arguments.traces)
    difference = max(largest_difference(engine, plain, proof) for proof in proofs[:2])
    totals: dict[str, list[float]] = {"packed": [], "forward": [], "plain": []}
    for index in range(arguments.rounds):
        spent = dict.fromkeys(totals, 0.0)
        for proof in proofs:
            spent["forward"] += cpu_seconds(lambda: run_forward(plain, proof))  # noqa: B023 - called at once
            spent["packed"] += cpu_seconds(lambda: engine.prove(proof, lambda: None))  # noqa: B023 - called at once
            if index == 0:
                spent["plain"] += cpu_seconds(lambda: prove_plainly(plain, proof))  # noqa: B023 - called at once
        for mode, seconds in spent.items():
            if seconds:
                totals[mode].append(seconds)
    num_prefixes = sum(len(proof.probes) for proof in proofs)
    speeds = {mode: num_prefixes / statistics.median(seconds) for mode, seconds in totals.items()}
    ratios = [forward / packed for forward, packed in zip(totals["forward"], totals["packed"], strict=True)]
    print(f"{arguments.dtype}, {len(proofs)} traces x {NUM_PREFIXES} prefixes, 1 thread, prefixes per CPU-second:")
    print(f"  packed {speeds['packed']:.1f} | plain {speeds['plain']:.1f} | one full forward {speeds['forward']:.1f}")
    print(f"  packed / plain {speeds['packed'] / speeds['plain']:.2f} (target 4)")
    print(f"  packed / one full forward {statistics.median(ratios):.3f}, rounds {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"  largest difference of log-probabilities from plain: {difference:.2e}")


if __name__ == "__main__":
    main()
