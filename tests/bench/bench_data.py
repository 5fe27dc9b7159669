"""CPU-seconds and peak memory of the verbs that make data, at two numbers of traces.

    python -m tests.bench.bench_data [--traces 10000] [--problems 500] [--prefixes 12] [--answers 8] [--keep FOLDER]

The traces of a problem are spread over the file, and often begin alike, so that there are pairs and backtracks. Each
measurement is a process of its own, on all traces and on a quarter of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from mrt_reward.core.progress import with_progress
from mrt_reward.evaluation.record import record
from mrt_reward.evaluation.traces import Evaluation
from mrt_reward.mini import MODEL_DIR
from mrt_reward.types import Episode, ScoredTrace, Status, Trace
from tests.bench.bench_report import Shape, value_of

STEP = "So {0} is the next thing to try, and whether the two sides then agree has to be seen. " * 6
NUM_WAYS = 3
"""Ways to go on from any prefix."""

BARE = json.dumps({"delimiters": {"open": "", "close": ""}})
VERBS: dict[str, Sequence[str]] = {
    "star": [],
    "pairs": ["--min-margin", "0.1", "--tokenizer", str(MODEL_DIR)],
    "prefixes": ["--tokenizer", str(MODEL_DIR)],
    "backtracks": ["--min-value", "0", "--min-fall", "0", "--options", BARE, "--tokenizer", str(MODEL_DIR)],
    "curriculum": [],
}

ENDING = "</think>\n\nThe final answer is \\boxed{42}"
ENDINGS = {"backtracks": ""}
"""After the thinking: attempts that may backtrack have no tags."""

RUN = """
import resource, sys, time
from mrt_reward.cli.app import app
start = time.process_time()
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def lines(num_traces: int, shape: Shape, ending: str) -> Iterator[str]:
    """Results of one model, as `mrt-reward evaluate` writes them; `ending` follows the thinking."""
    rng = np.random.default_rng(0)
    for number in range(num_traces):
        problem = f"problem-{number % shape.problems}"
        ways = rng.integers(NUM_WAYS, size=shape.prefixes - 1)
        steps = [STEP.format(f"{problem}.{index}.{way}") for index, way in enumerate(ways)]
        ends = [0, *accumulate(map(len, steps))]
        chances = np.clip(np.cumsum([0.3, *(0.2 * (ways - 1))]) + rng.normal(0, 0.05, shape.prefixes), 0, 1)
        values = [value_of(chance, shape.answers, rng) for chance in chances]
        episodes = [Episode(start, end, start // 5, end // 5) for start, end in pairwise(ends)]
        scored = ScoredTrace(
            f"t{number}",
            Status.OK,
            outcome=float(rng.random() < chances[-1]),
            values=tuple(values),
            episodes=with_progress(episodes, values),
            prefix_tokens=tuple(50 + end // 5 for end in ends),
        )
        asked, said = f"What is {problem}?", "".join(steps) + ending
        trace = Trace(f"t{number}", problem=asked, completion=said, answer=("42",))
        yield json.dumps(record(trace, scored, evaluation=Evaluation("model", problem, ends[-1] // 5)))


def measured(verb: str, source: Path, output: Path) -> tuple[float, float]:
    """CPU-seconds without imports, and peak MiB, of a process of its own."""
    command = [sys.executable, "-c", RUN, verb, str(source), "-o", str(output), *VERBS[verb]]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    taken_s, peak_mib = map(float, done.stdout.split()[-2:])
    return taken_s, peak_mib


def main() -> None:
    """Print one row per verb."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--prefixes", type=int, default=12, help="of each trace, the empty one included")
    parser.add_argument("--answers", type=int, default=8, help="sampled after each prefix")
    parser.add_argument("--verbs", nargs="+", choices=list(VERBS), default=list(VERBS))
    parser.add_argument("--keep", type=Path, help="folder for what the verbs write, to be compared")
    args = parser.parse_args()
    shape = Shape(args.problems, args.prefixes, args.answers)
    with tempfile.TemporaryDirectory() as scratch:
        made = args.keep or Path(scratch)
        made.mkdir(exist_ok=True)
        for verb in args.verbs:
            message, source = f"{verb:12}", Path(scratch, f"{verb}.jsonl")
            for num in (args.traces // 4, args.traces):
                with source.open("w") as out:
                    out.writelines(f"{line}\n" for line in lines(num, shape, ENDINGS.get(verb, ENDING)))
                taken_s, peak_mib = measured(verb, source, made / f"{verb}-{num}.jsonl")
                message += f"{num:>8} traces {taken_s:7.2f} CPU-s  peak {peak_mib:5.0f} MiB"
            print(message, f"of {source.stat().st_size / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
