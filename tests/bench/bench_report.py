"""CPU-seconds and memory of a report, at two numbers of traces, against reading the same lines with json alone.

    python -m tests.bench.bench_report [--traces 10000] [--problems 500] [--prefixes 12] [--answers 8]

Traces are of two models, with rollouts and their answers kept, so that every part of the report is made. Each
measurement is a process of its own: the report on all traces, on a quarter of them, and `json.loads` of every line
(bound).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrt_reward.core.progress import with_progress
from mrt_reward.core.values import rollout_value
from mrt_reward.evaluation.record import record
from mrt_reward.evaluation.traces import Evaluation
from mrt_reward.types import Episode, SampledAnswer, ScoredTrace, Status, Trace, Value, Verdict

EPISODE = "So the next step is to try another pair, and to see whether the two sides agree. " * 6
TOKENS_PER_EPISODE, CHARS_PER_EPISODE = 150, len(EPISODE)


@dataclass(frozen=True, slots=True)
class Shape:
    """What is written.

    Attributes:
        problems: N.
        prefixes: of each trace.
        answers: sampled after each prefix.

    """

    problems: int
    prefixes: int
    answers: int


def lines(num_traces: int, shape: Shape) -> Iterator[str]:
    """Results as `mrt-reward evaluate` writes them, with values that rise noisily."""
    rng = np.random.default_rng(0)
    for number in range(num_traces):
        problem = f"problem-{number % shape.problems}"
        chances = np.clip(
            np.linspace(0.1, rng.uniform(0.3, 1.0), shape.prefixes) + rng.normal(0, 0.1, shape.prefixes), 0, 1
        )
        values = [value_of(chance, shape.answers, rng) for chance in chances]
        episodes = [
            Episode(
                j * CHARS_PER_EPISODE, (j + 1) * CHARS_PER_EPISODE, j * TOKENS_PER_EPISODE, (j + 1) * TOKENS_PER_EPISODE
            )
            for j in range(shape.prefixes - 1)
        ]
        trace_id = f"t{number}"
        scored = ScoredTrace(
            trace_id,
            Status.OK,
            outcome=float(rng.random() < chances[-1]),
            values=tuple(values),
            episodes=with_progress(episodes, values),
            prefix_tokens=tuple(50 + j * TOKENS_PER_EPISODE for j in range(shape.prefixes)),
        )
        trace = Trace(trace_id, problem=f"What is {problem}?", completion=EPISODE * len(episodes), answer=("42",))
        model = "first" if number // shape.problems % 2 else "second"
        yield json.dumps(
            record(trace, scored, evaluation=Evaluation(model, problem, TOKENS_PER_EPISODE * len(episodes)))
        )


def value_of(chance: float, num_answers: int, rng: np.random.Generator) -> Value:
    right = rng.random(num_answers) < chance
    answers = tuple(
        SampledAnswer("42" if each else str(rng.integers(3)), Verdict.CORRECT if each else Verdict.INCORRECT, 5)
        for each in right
    )
    return replace(rollout_value([answer.verdict for answer in answers]), answer_tokens=5.0, answers=answers)


REPORT = """
import resource, sys, time
from pathlib import Path
from mrt_reward.evaluation.report import ReportSpec, make_report
start = time.process_time()
make_report([Path(sys.argv[1])], Path(sys.argv[2]), ReportSpec())
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
READ = """
import json, resource, sys, time
start = time.process_time()
for line in open(sys.argv[1], "rb"):
    json.loads(line)
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measured(code: str, *arguments: Path) -> tuple[float, float]:
    """CPU-seconds without imports, and peak MiB, of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    taken_s, peak_mib = map(float, done.stdout.split())
    return taken_s, peak_mib


def main() -> None:
    """Print one row per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--prefixes", type=int, default=12, help="of each trace, the empty one included")
    parser.add_argument("--answers", type=int, default=8, help="sampled after each prefix")
    args = parser.parse_args()
    shape = Shape(args.problems, args.prefixes, args.answers)
    with tempfile.TemporaryDirectory() as scratch:
        whole, quarter = Path(scratch, "whole.jsonl"), Path(scratch, "quarter.jsonl")
        num_quarter = args.traces // 4
        with whole.open("w") as all_of_them, quarter.open("w") as some:
            for number, line in enumerate(lines(args.traces, shape)):
                all_of_them.write(line + "\n")
                if number < num_quarter:
                    some.write(line + "\n")
        bound_s, _ = measured(READ, whole)
        few_s, few_mib = measured(REPORT, quarter, Path(scratch, "few"))
        many_s, many_mib = measured(REPORT, whole, Path(scratch, "many"))
        page_mb = Path(scratch, "many", "report.html").stat().st_size / 1e6
        print(f"{whole.stat().st_size / 1e6:.0f} MB of results, {shape}")
    print(f"{'json.loads, all':24}{args.traces:>8} traces {bound_s:8.2f} CPU-s")
    print(f"{'report, a quarter':24}{num_quarter:>8} traces {few_s:8.2f} CPU-s  peak {few_mib:6.0f} MiB")
    print(
        f"{'report, all':24}{args.traces:>8} traces {many_s:8.2f} CPU-s  peak {many_mib:6.0f} MiB  "
        f"= {many_s / bound_s:.1f} x json.loads, page {page_mb:.2f} MB"
    )


if __name__ == "__main__":
    main()
