"""Callers who ask for ever new traces, until they are stopped."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from mrt_reward.client import Client
from mrt_reward.errors import MRTRewardError
from mrt_reward.types import ScoredTrace, Status
from tests.faults.mini import island_traces

NUM_CALLERS = 4
PER_CALL = 16


@dataclass
class Burst:
    """What was asked, and what came of it.

    Attributes:
        scored: all traces that came back.
        num_asked: all traces that were asked for.
        errors: of calls that failed.

    """

    scored: list[ScoredTrace] = field(default_factory=list[ScoredTrace])
    num_asked: int = 0
    errors: list[str] = field(default_factory=list[str])

    @property
    def num_lost(self) -> int:
        return self.num_asked - sum(trace.status is Status.OK for trace in self.scored)


@contextmanager
def burst(client: Client, seeds: Iterator[int]) -> Generator[Burst]:
    """Calls of 16 traces each, four at a time, while the context lasts; all have ended when it is left."""
    found, over = Burst(), threading.Event()

    def call() -> None:
        while not over.is_set():
            traces = island_traces(PER_CALL, seed=next(seeds))
            found.num_asked += len(traces)
            try:
                found.scored.extend(client.score(traces))
            except MRTRewardError as error:
                found.errors.append(repr(error))

    with ThreadPoolExecutor(NUM_CALLERS) as callers:
        calls = [callers.submit(call) for _ in range(NUM_CALLERS)]
        try:
            yield found
        finally:
            over.set()
            for each in calls:
                each.result()


def new_seeds() -> Iterator[int]:
    """No two traces of them are the same, so that none is answered from a cache."""
    return count(1000)


def values(scored: Sequence[ScoredTrace]) -> dict[str, list[Any]]:
    """J of each trace, by its id."""
    return {trace.id: [value.value for value in trace.values] for trace in scored}
