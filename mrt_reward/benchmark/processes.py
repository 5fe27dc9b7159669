"""CPU-seconds and memory of this process and of everything it started, from Linux's /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
RESET_PEAK = "5"
"""What /proc/PID/clear_refs takes to forget the highest resident size so far."""


@dataclass
class Cost:
    """What some work cost; filled when it is over.

    Attributes:
        wall_s: time that passed, in seconds.
        own_cpu_s: CPU-seconds of this process, user and system.
        children_cpu_s: CPU-seconds of all its descendants, those that ended meanwhile included.
        own_peak_mb: highest resident memory of this process, in megabytes.
        children_peak_mb: of its descendants, each at its own highest, summed.

    """

    wall_s: float = 0.0
    own_cpu_s: float = 0.0
    children_cpu_s: float = 0.0
    own_peak_mb: float = 0.0
    children_peak_mb: float = 0.0

    @property
    def cpu_s(self) -> float:
        """CPU-seconds of this process and of all below it."""
        return self.own_cpu_s + self.children_cpu_s


def descendants(pid: int) -> list[int]:
    """All processes below this one, as they are at present."""
    parents = {int(entry.name): parent for entry in PROC.iterdir() if entry.name.isdigit() for parent in _parent(entry)}
    found: list[int] = []
    level = {pid}
    while level := {child for child, parent in parents.items() if parent in level}:
        found += sorted(level)
    return found


def _parent(entry: Path) -> Iterable[int]:
    fields = _stat(entry)
    return [int(fields[1])] if fields else []


def _stat(entry: Path) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none where the process is gone."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(pid: int, *, with_ended: bool = True) -> float:
    """User and system CPU time of a process, and of its children that have ended; 0 where it is gone."""
    fields = _stat(PROC / str(pid))
    ticks = fields[11:15] if with_ended else fields[11:13]
    return sum(int(tick) for tick in ticks) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Highest resident megabytes of a process since its start or `forget_peak`; 0 where it is gone."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:"))


def forget_peak(pid: int) -> None:
    """Let `peak_mb` count from here; where that is not allowed, it counts from the start."""
    with contextlib.suppress(OSError):
        (PROC / str(pid) / "clear_refs").write_text(RESET_PEAK)


@contextmanager
def measured() -> Generator[Cost]:
    """Measure what is done inside; the record is complete once the block ends."""
    cost = Cost()
    own = os.getpid()
    for pid in (own, *descendants(own)):
        forget_peak(pid)
    own_before, children_before = _cpu(own)
    started = time.perf_counter()
    yield cost
    cost.wall_s = time.perf_counter() - started
    own_after, children_after = _cpu(own)
    cost.own_cpu_s = own_after - own_before
    cost.children_cpu_s = children_after - children_before
    cost.own_peak_mb = peak_mb(own)
    cost.children_peak_mb = sum(peak_mb(pid) for pid in descendants(own))


def _cpu(own: int) -> tuple[float, float]:
    """CPU-seconds of a process alone, and of all that it ever started."""
    alone = cpu_seconds(own, with_ended=False)
    ended = cpu_seconds(own) - alone
    return alone, ended + sum(cpu_seconds(pid) for pid in descendants(own))
