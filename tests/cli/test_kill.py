"""A kill at any point costs what was in the engine, and nothing else: real processes, really killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NUM_PROBLEMS, NUM_TRACES = 3, 2
NUM_LINES = NUM_PROBLEMS * NUM_TRACES + NUM_PROBLEMS
"""A line for each trace, and one for each problem that is answered directly."""

# Before anything is there, in the midst of traces, between traces and direct answers, in the midst of these, and while
# the report is written.
POINTS = ("0", "1", "4", "6", "8", "report")


def evaluate(tmp_path: Path, out: str, point: str) -> int:
    """Run the verb in a process of its own; returns how often it called the engine."""
    source, calls = tmp_path / "problems.jsonl", tmp_path / f"{out}-calls"
    rows = [{"id": f"p{index}", "problem": f"Question {index}?", "answer": "42"} for index in range(NUM_PROBLEMS)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    calls.write_bytes(b"")
    words = [sys.executable, "-m", "tests.cli.dying_evaluate", point, str(calls)]
    words += ["evaluate", str(source), "-o", str(tmp_path / out), "--traces", str(NUM_TRACES), "--max-tokens", "40"]
    words += ["--direct", "plain", "--direct-answers", "4", "--direct-tokens", "40"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == (0 if point == "never" else -signal.SIGKILL), done.stderr
    return len(calls.read_bytes())


def lines(path: Path) -> list[dict[str, Any]]:
    record = [json.loads(text) for text in path.read_text().splitlines()]
    for line in record:
        line.pop("usage", None)  # what was cached is another matter
    return sorted(record, key=lambda line: line["id"])


def size(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    # Each problem is sampled in one call, each trace scored in one, each problem answered directly in one.
    assert evaluate(tmp_path, "whole", "never") == NUM_PROBLEMS + NUM_LINES
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for point in (*POINTS, "never"):
        before = {name: (cut / name).read_bytes() if (cut / name).exists() else b"" for name in FILES}
        num_sampled, num_done = size(cut / "traces.jsonl"), size(cut / "results.jsonl")
        num_calls = evaluate(tmp_path, "cut", point)
        # What was written stays as it was, byte by byte, and is not asked again.
        assert all((cut / name).read_bytes().startswith(text) for name, text in before.items()), point
        assert num_calls <= NUM_PROBLEMS - num_sampled // NUM_TRACES + NUM_LINES - num_done, point
        if point.isdigit():
            assert int(point) <= size(cut / "results.jsonl") < NUM_LINES, point
            assert not (cut / "report.html").exists()
    for name in FILES:
        assert lines(cut / name) == lines(whole / name)
    for name in ("summary.json", "settings.json"):
        assert (cut / name).read_text() == (whole / name).read_text(), name
    for name in ("report.md", "report.html"):
        assert without_calls(cut / name) == without_calls(whole / name), name
    # Each call that worked on a model is on record, those that were killed too: one for traces, one for direct answers.
    assert size(whole / "runs.jsonl") == 2
    assert size(cut / "runs.jsonl") > size(whole / "runs.jsonl")


def without_calls(path: Path) -> str:
    """A report without the dates and commands of the calls that made it."""
    text, num_calls = re.subn(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC[^|<\n]*", "", path.read_text())
    assert num_calls >= 3
    return text


FILES = ("traces.jsonl", "results.jsonl")
