"""Traces per CPU-second of two trees of the project, in turn on the same traces: did a change cost anything?

    git worktree add ../before COMMIT
    mrt-reward mini sample traces.jsonl --problems 100 --traces 3
    python -m tests.bench.bench_trees ../before . traces.jsonl [--rounds 50] [--size 20] [--options '{"estimator": …}']

One process a tree, one thread each; a round gives both the same traces, in an order by chance, so that what else runs
on the machine meets both alike. `--options-before` is for the first tree, where it knows fewer options. CPU time of the
process alone: grading processes are left out. Prints ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any, cast

SERVE = "--serve"
"""What a process of one tree is started with."""


def serve() -> None:
    """Answer each line of numbers with the CPU-seconds of scoring these traces, those of a single one subtracted."""
    import mrt_reward  # noqa: PLC0415 - of the tree in PYTHONPATH

    asked = cast("dict[str, Any]", json.loads(sys.stdin.readline()))
    traces, options = asked["traces"], asked["options"]
    score = cast("Any", mrt_reward.score)
    if options is not None:
        from pydantic import TypeAdapter  # noqa: PLC0415

        from mrt_reward.options import ScoreOptions  # noqa: PLC0415

        options = TypeAdapter(ScoreOptions).validate_python(options)

    def spent_s(chosen: list[Any]) -> float:
        before = resource.getrusage(resource.RUSAGE_SELF)
        score(chosen, **({} if options is None else {"options": options}))
        after = resource.getrusage(resource.RUSAGE_SELF)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    spent_s(traces[:2])
    print(Path(mrt_reward.__file__).parents[1], flush=True)
    for line in sys.stdin:
        chosen = [traces[index] for index in json.loads(line)]
        alone_s = spent_s(chosen[:1])
        print(spent_s(chosen) - alone_s, flush=True)


def _asked(process: subprocess.Popen[str], line: str) -> str:
    stdin, stdout = cast("IO[str]", process.stdin), cast("IO[str]", process.stdout)
    stdin.write(line + "\n")
    stdin.flush()
    return stdout.readline().strip()


def main() -> None:
    """Print how much faster the second tree is, above 1, or slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("traces", type=Path)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--size", type=int, default=20, help="Traces a round.")
    parser.add_argument("--options", type=json.loads, help="Scoring options, JSON.")
    parser.add_argument("--options-before", type=json.loads)
    given = parser.parse_args()
    wanted = ("id", "problem", "completion", "answer")
    rows = [json.loads(line) for line in given.traces.read_text(encoding="utf-8").splitlines()]
    traces = [{name: row[name] for name in wanted} for row in rows]
    options = (given.options if given.options_before is None else given.options_before, given.options)
    spent_s: tuple[list[float], list[float]] = ([], [])
    with ExitStack() as opened:
        processes: list[subprocess.Popen[str]] = []
        for tree, chosen in zip((given.before.resolve(), given.after.resolve()), options, strict=True):
            # This file is run, and the package comes from the tree.
            command = [sys.executable, str(Path(__file__).resolve()), SERVE]
            environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
            process = opened.enter_context(
                subprocess.Popen(command, text=True, env=environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
            )
            print("runs", _asked(process, json.dumps({"traces": traces, "options": chosen})))
            processes.append(process)
        for turn in range(given.rounds):
            line = json.dumps([index % len(rows) for index in range(turn * given.size, (turn + 1) * given.size)])
            for index in random.sample((0, 1), 2):
                spent_s[index].append(float(_asked(processes[index], line)))
    ratios = [before / after for before, after in zip(*spent_s, strict=True)]
    overall = sum(spent_s[0]) / sum(spent_s[1])
    print(
        "speed of the second by that of the first: "
        f"median of rounds {statistics.median(ratios):.3f}, in all {overall:.3f}"
    )


if __name__ == "__main__":
    serve() if sys.argv[1:] == [SERVE] else main()
