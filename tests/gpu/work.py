"""What is asked: 16 problems × 8 traces of 4,000 to 16,000 tokens, in 8 episodes, as a training step asks it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrt_reward.benchmark.workload import Work, WorkSpec, make_work
from mrt_reward.options import Likelihood, Rollouts
from mrt_reward.protocols import Tokenizer


@dataclass(frozen=True)
class Scale:
    """How much is asked.

    Attributes:
        specs: problems of each length of trace.
        num_samples: answers of a prefix, where they are sampled.
        answer_tokens: of each.
        sampled: problems and traces of each length whose answers are sampled; the rest takes as long.
        max_kv_tokens: of the engine, so that as many answers grow side by side as it takes.

    """

    specs: tuple[WorkSpec, ...]
    num_samples: int
    answer_tokens: int
    sampled: tuple[int, int]
    max_kv_tokens: int

    @property
    def num_traces(self) -> int:
        """Of a training step."""
        return sum(spec.problems * spec.traces for spec in self.specs)

    def likelihood(self, tokenizer: Tokenizer) -> Work:
        """All of it, by likelihood."""
        return _joined([make_work(spec, tokenizer, Likelihood()) for spec in self.specs])

    def rollouts(self, tokenizer: Tokenizer, *, coupled: bool) -> Work:
        """Some of each length, by sampled answers that nothing but their length ends."""
        problems, traces = self.sampled
        asked = Rollouts(
            "rollouts", num_samples=self.num_samples, max_tokens=self.answer_tokens, temperature=1.0, top_p=1.0,
            coupled=coupled,
        )  # fmt: skip
        parts = [replace(spec, problems=problems, traces=traces, seed=spec.seed + 500) for spec in self.specs]
        return _joined([make_work(spec, tokenizer, asked) for spec in parts])

    def warm_up(self, tokenizer: Tokenizer) -> Work:
        """One trace of each length that nothing else has."""
        parts = [replace(spec, problems=1, traces=1, seed=spec.seed + 900) for spec in self.specs]
        return _joined([make_work(spec, tokenizer, Likelihood()) for spec in parts])


def _specs(lengths: Sequence[int], problems: int, traces: int, episodes: int) -> tuple[WorkSpec, ...]:
    return tuple(
        WorkSpec(problems, traces, episodes, max(1, length // episodes), seed=10_000 * (index + 1))
        for index, length in enumerate(lengths)
    )


FULL = Scale(_specs((4000, 8000, 12_000, 15_500), 4, 8, 8), 8, 64, (1, 2), 131_072)
TINY = Scale(_specs((60, 120), 1, 2, 4), 2, 6, (1, 1), 32_768)


def _joined(works: Sequence[Work]) -> Work:
    """The traces of all, in one batch."""
    first = works[0]
    return replace(
        first,
        traces=tuple(trace for work in works for trace in work.traces),
        jobs=tuple(job for work in works for job in work.jobs),
    )
