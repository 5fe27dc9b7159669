"""Which steps were taken from one prefix: traces of a problem that begin alike are alternatives to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from mrt_reward.evaluation.result import Result
from mrt_reward.types import Value


@dataclass(frozen=True, slots=True)
class EpisodeAt:
    """One episode of one trace.

    Attributes:
        trace: it belongs to.
        index: its index j; it leads from `z[:j]` to `z[:j + 1]`.

    """

    trace: Result
    index: int

    @property
    def text(self) -> str:
        """Of the episode."""
        return self.trace.episode(self.index)

    @property
    def before(self) -> Value:
        """J of the prefix that it starts from."""
        return self.trace.value(self.index)

    @property
    def after(self) -> Value:
        """J of the prefix that it ends."""
        return self.trace.value(self.index + 1)

    @property
    def is_whole(self) -> bool:
        """Whether it ended by itself: the last episode of thinking that was never closed was cut off."""
        return self.index + 1 < self.trace.num_episodes or bool(self.trace.ending)


States = Mapping[bytes, list[EpisodeAt]]
"""Steps by the prefix that they start from, as `Result.prefix_keys` names it."""


def states(traces: Iterable[Result]) -> States:
    """All whole steps whose values before and after are known, by where they start."""
    found: dict[bytes, list[EpisodeAt]] = {}
    for trace in traces:
        for j, key in zip(range(trace.num_episodes), trace.prefix_keys(), strict=False):
            step = EpisodeAt(trace, j)
            if step.is_whole and step.before.value is not None and step.after.value is not None:
                found.setdefault(key, []).append(step)
    return found


def with_steps(found: States, more: Iterable[EpisodeAt]) -> States:
    """The same with further steps, which need not be whole: sampled ones end where an episode ends."""
    joined = {key: list(steps) for key, steps in found.items()}
    for step in more:
        key = next(islice(step.trace.prefix_keys(), step.index, None))
        joined.setdefault(key, []).append(step)
    return joined
