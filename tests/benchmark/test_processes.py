from __future__ import annotations

import os
import subprocess
import sys

from mrt_reward.benchmark.processes import cpu_seconds, descendants, forget_peak, measured, peak_mb

SPIN = "import time\nwhile time.process_time() < 0.4: pass"
GONE = 2**22 + 1
"""Above the highest process number."""


def test_a_child_that_ended_counts() -> None:
    with measured() as cost:
        subprocess.run([sys.executable, "-c", SPIN], check=True)
    assert 0.35 <= cost.children_cpu_s < 2.0
    assert cost.own_cpu_s < 0.3
    assert cost.cpu_s == cost.own_cpu_s + cost.children_cpu_s
    assert cost.wall_s >= 0.3
    assert cost.own_peak_mb > 5


def test_a_child_that_lives_counts_with_its_memory_and_its_own_children() -> None:
    inner = f"{SPIN}\nprint(1, flush=True)\ninput()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with measured() as cost:
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        assert len(descendants(os.getpid())) >= 2
    child.communicate(b"\n")
    assert 0.35 <= cost.children_cpu_s < 2.0
    assert cost.children_peak_mb > 5


def test_a_process_that_is_gone_costs_nothing() -> None:
    forget_peak(GONE)
    assert (cpu_seconds(GONE), peak_mb(GONE), descendants(GONE)) == (0.0, 0.0, [])
