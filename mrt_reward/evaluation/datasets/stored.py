"""Traces that stay in their file: memory holds where each one is, and reads its text when that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.traces import trace_of_line
from mrt_reward.types import Trace

NUM_KEPT = 256
"""Traces whose text is kept in memory: those of a few problems, which are looked at together."""


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """A line of a results file.

    Attributes:
        path: of the file.
        offset: where the line starts, in bytes.
        stamp: size and time of last change of the file when the line was found.

    """

    path: Path
    offset: int
    stamp: tuple[int, int]

    def read(self) -> Trace:
        """The trace.

        Raises:
            ConfigError: the file has changed since the line was found.

        """
        return _read(self)


def stamp_of(path: Path) -> tuple[int, int]:
    """What tells that a file has not changed."""
    told = path.stat()
    return told.st_size, told.st_mtime_ns


@lru_cache(maxsize=NUM_KEPT)
def _read(stored: StoredTrace) -> Trace:
    with stored.path.open("rb") as file:
        file.seek(stored.offset)
        trace = trace_of_line(file.readline()) if stamp_of(stored.path) == stored.stamp else None
    if trace is None:
        raise ConfigError(f"{stored.path} has changed while it was read: start again when nothing writes to it")
    return trace
