"""Traces that stay in their file: memory holds where each one is, and reads it when something of it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.traces import scored_trace_of_line
from mrt_reward.types import ScoredTrace, Trace

NUM_KEPT = 256
"""Traces that are kept in memory, of a file: those of a few problems, which are looked at together."""


class StoredLines:
    """The lines of one file of results; those that were asked for last are kept.

    Args:
        path: of a file that nothing writes to any more.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp_of(path)
        self.keep(NUM_KEPT)

    def keep(self, num: int) -> None:
        """Keep this many."""
        self._kept = lru_cache(maxsize=num)(self._read)

    def at(self, offset: int) -> tuple[Trace, ScoredTrace]:
        """The trace whose line starts there, and its scores.

        Raises:
            ConfigError: the file has changed since it was opened.

        """
        return self._kept(offset)

    def _read(self, offset: int) -> tuple[Trace, ScoredTrace]:
        with self._path.open("rb") as file:
            file.seek(offset)
            line = file.readline()
        trace, scored = scored_trace_of_line(line) if _stamp_of(self._path) == self._stamp else (None, None)
        if trace is None or scored is None:
            raise ConfigError(f"{self._path} has changed while it was read: start again when nothing writes to it")
        # What was answered is not looked at again.
        return trace, replace(scored, values=tuple(replace(value, answers=None) for value in scored.values))


@dataclass(frozen=True, slots=True)
class StoredTrace:
    """A line of a results file.

    Attributes:
        lines: of the file.
        offset: where the line starts, in bytes.
        problem_key: what the traces of its problem share.

    """

    lines: StoredLines
    offset: int
    problem_key: bytes

    def read(self) -> tuple[Trace, ScoredTrace]:
        """The trace and its scores.

        Raises:
            ConfigError: the file has changed since the line was found.

        """
        return self.lines.at(self.offset)


def _stamp_of(path: Path) -> tuple[int, int]:
    """What tells that a file has not changed: its size, and when it was last written to."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
