"""How real traces are cut, and what proving them costs, under the default segmenter and under the authors' rule.

    MRT_REWARD_TEST_DATA=FOLDER python -m tests.bench.bench_segments [--file traces_qwen3_32b.jsonl] [--samples 8]

Episodes a trace, what starts them, how often each marker starts a sentence, and the tokens that the prover handles:
under `likelihood` the trace once and, at each prefix, the terminator and one spelling of the answer; under `rollouts`
the trace once, the terminator, and up to 64 tokens of each of the samples. Tokens are those of the bundled `mini`,
which needs more of them than Qwen3 says it wrote (1028 for 813 in the middle).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from mrt_reward.core.boundaries import find_boundaries
from mrt_reward.core.episodes import Thinking, episode_spans, find_thinking
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import (
    MODEL_MARKERS,
    MRT_MARKERS,
    BalancedSegmenter,
    Delimiters,
    MarkerSegmenter,
    ScoreOptions,
    Segmenter,
)

ANSWER_TOKENS = 64
"""Longest answer after a boxed terminator."""

RULES: dict[str, Segmenter] = {
    "balanced (default)": BalancedSegmenter(),
    "balanced, authors' markers": BalancedSegmenter(markers=MRT_MARKERS),
    "markers (the authors')": MarkerSegmenter(),
}


@dataclass(frozen=True)
class Real:
    """A real trace: its text, where it thinks, its gold answer, and how long it is."""

    completion: str
    thinking: Thinking
    answer: str
    num_tokens: int


def read(path: Path, tokenizer: Tokenizer) -> list[Real]:
    """Traces of a file, whose thinking is within tags."""
    traces: list[Real] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        thinking = find_thinking(record["completion"], Delimiters(), opened=False)
        assert thinking is not None, record["id"]
        thought = record["completion"][thinking.start : thinking.end]
        tokens = len(tokenizer.encode(thought, add_special_tokens=False).ids)
        traces.append(Real(record["completion"], thinking, str(record["answer"]), tokens))
    return traces


def print_rule(name: str, rule: Segmenter, traces: Sequence[Real], tokenizer: Tokenizer, num_samples: int) -> None:
    """Distribution, longest shares, and the prover's tokens."""
    episodes = [episode_spans(trace.completion, trace.thinking, rule) for trace in traces]
    counts = [len(spans) for spans in episodes]
    shares = [
        max(span.end - span.start for span in spans) / (trace.thinking.end - trace.thinking.start)
        for spans, trace in zip(episodes, traces, strict=True)
    ]
    prefixes = sum(counts) + len(traces)
    terminator = len(tokenizer.encode(ScoreOptions().resolved_terminator().forced, add_special_tokens=False).ids)
    golds = [len(tokenizer.encode(f"{{{trace.answer}}}", add_special_tokens=False).ids) for trace in traces]
    context = sum(trace.num_tokens for trace in traces)
    forced = sum((count + 1) * (terminator + gold) for count, gold in zip(counts, golds, strict=True))
    print(f"\n{name}")
    print("  episodes: traces   ", ", ".join(f"{count}: {num}" for count, num in sorted(Counter(counts).items())))
    print(f"  median {np.median(counts):g}, mean {np.mean(counts):.1f}, with a single one {counts.count(1)}")
    print(f"  longest episode, share of its thinking: median {np.median(shares):.2f}, most {max(shares):.2f}")
    print(f"  prefixes to prove {prefixes}")
    print(f"  likelihood: {context} tokens of thinking + {forced} = {context + forced}")
    written = prefixes * num_samples * ANSWER_TOKENS
    print(f"  rollouts: {context} of thinking + {prefixes * terminator} + at most {written} sampled")


def print_starts(traces: Sequence[Real]) -> None:
    """What starts the default's episodes, and how often each marker starts a sentence."""
    kinds: Counter[str] = Counter()
    for trace in traces:
        found = find_boundaries(trace.completion, trace.thinking.span, MODEL_MARKERS)
        starts_of = {
            "marked": found.marked,
            "paragraph": found.paragraphs,
            "sentence": found.sentences,
            "line": found.lines,
            "word": found.words,
        }
        for span in episode_spans(trace.completion, trace.thinking, BalancedSegmenter())[1:]:
            kinds[next((kind for kind, starts in starts_of.items() if span.start in starts), "token")] += 1
    print("\nwhat starts the default's episodes   ", ", ".join(f"{kind}: {num}" for kind, num in kinds.most_common()))
    print("marker: places, traces")
    for marker in MODEL_MARKERS:
        nums = [len(find_boundaries(trace.completion, trace.thinking.span, (marker,)).marked) for trace in traces]
        print(f"  {marker}: {sum(nums)}, {np.count_nonzero(nums)}")


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default="traces_qwen3_32b.jsonl", help="JSONL in the folder MRT_REWARD_TEST_DATA")
    parser.add_argument("--samples", type=int, default=8, help="answers of a prefix, for rollouts")
    chosen = parser.parse_args()
    folder = os.environ.get("MRT_REWARD_TEST_DATA")
    if not folder:
        parser.error("MRT_REWARD_TEST_DATA names no folder of real traces: set it to one")
    tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
    traces = read(Path(folder) / chosen.file, tokenizer)
    print(f"{len(traces)} traces, {np.median([trace.num_tokens for trace in traces]):g} tokens in the middle")
    for name, rule in RULES.items():
        print_rule(name, rule, traces, tokenizer, chosen.samples)
    print_starts(traces)


if __name__ == "__main__":
    main()
