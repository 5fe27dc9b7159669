"""Adds traces up by model and problem, so that memory depends on the number of problems and not on that of traces.

Dimension key: N problems · Q quantities of `measures.Layout`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from mrt_reward.evaluation.bootstrap import mean_over_problems
from mrt_reward.evaluation.direct_votes import DirectTally
from mrt_reward.evaluation.measures import KINDS, SCALARS, Layout, Lens, end_tokens, measure
from mrt_reward.evaluation.provenance import shown_names
from mrt_reward.evaluation.restart import restart_comparison
from mrt_reward.evaluation.result import Result
from mrt_reward.mini.bundled import is_foreign
from mrt_reward.types import Status

Floats = NDArray[np.float64]


@dataclass
class ProblemSums:
    """The traces of one model on one problem."""

    sum_Q: Floats
    count_Q: NDArray[np.uint32]
    num_traces: int = 0

    def add(self, vector_Q: Floats) -> None:
        """One more trace; what it does not know (NaN) counts nowhere."""
        known_Q = ~np.isnan(vector_Q)
        self.sum_Q[known_Q] += vector_Q[known_Q]
        self.count_Q += known_Q
        self.num_traces += 1


@dataclass
class Caveats:
    """What a reader of the numbers should know.

    Attributes:
        foreign: traces of problems that the bundled model which proved them knows nothing of.
        partial: traces with a missing value, which are in no curve.
        without_episodes: traces that thought nothing.
        provers: that gave the values.
        lower_bounds: whether some values are likelihoods, which can only understate.
        warnings: of the scorer, by how often.

    """

    foreign: int = 0
    partial: int = 0
    without_episodes: int = 0
    provers: set[str] = field(default_factory=set[str])
    lower_bounds: bool = False
    warnings: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, result: Result) -> None:
        """One more trace."""
        scored = result.scored
        self.foreign += _is_foreign(result)
        self.partial += scored.status is Status.PARTIAL
        self.without_episodes += not scored.episodes
        if scored.prover:
            self.provers.add(scored.prover)
        self.lower_bounds |= any(value.bound is not None for value in scored.values)
        for warning in scored.warnings:
            if warning in self.warnings or len(self.warnings) < MAX_WARNINGS:
                self.warnings[warning] = self.warnings.get(warning, 0) + 1


def _is_foreign(result: Result) -> bool:
    """Whether a bundled model proved what is no problem of its own; False where the file does not hold the problem."""
    given = result.has_trace and (result.trace.prompt or result.trace.problem or result.trace.messages)
    return bool(given) and is_foreign(result.scored.prover, result.asked)


MAX_WARNINGS = 20
NUM_EXAMPLES = 120


class Examples:
    """A bounded, reproducible choice of traces to show: the same problems of every model, spread over all of them.

    Args:
        size: most traces to keep.

    """

    def __init__(self, size: int = NUM_EXAMPLES) -> None:
        self._size = size
        self._heap: list[tuple[bytes, int, Result]] = []
        self._num_seen = 0

    def add(self, result: Result) -> None:
        """Keep the trace if its problem comes early in an order that has nothing to do with its content."""
        self._num_seen += 1
        order = _digest(result.problem) + _digest(f"{result.model}\0{result.scored.id}")
        # heapq keeps the smallest in front; what should go first is what comes last in the order.
        entry = (bytes(255 - byte for byte in order), self._num_seen, result)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif self._size:
            heapq.heappushpop(self._heap, entry)

    def __iter__(self) -> Iterator[Result]:
        """By problem, then model, then id."""
        kept = [result for _, _, result in self._heap]
        return iter(sorted(kept, key=lambda result: (result.problem, result.model, result.scored.id)))


class Tally:
    """All traces, added up.

    Args:
        lens: how traces are looked at.
        num_examples: traces to keep for reading.

    Attributes:
        layout: of what is added up.
        direct: answers without thinking.
        examples: traces to read.
        caveats: by model.
        end_S: by model, where its longest trace ends, in tokens, for each size of a vote.

    """

    def __init__(self, lens: Lens, *, num_examples: int = NUM_EXAMPLES) -> None:
        self.layout = Layout(lens)
        self.direct = DirectTally(lens.sizes, self.layout.budget_B, weighted=lens.weighted)
        self.examples = Examples(num_examples)
        self.caveats: dict[str, Caveats] = {}
        self.end_S: dict[str, Floats] = {}
        self._sums: dict[str, dict[str, ProblemSums]] = {}

    def add(self, result: Result) -> None:
        """One more trace, or one more problem answered without thinking."""
        if result.is_direct:
            self.direct.add(result)
            return
        of_model = self._sums.setdefault(result.model, {})
        sums = of_model.get(result.problem)
        if sums is None:
            size = self.layout.size
            sums = of_model[result.problem] = ProblemSums(np.zeros(size), np.zeros(size, np.uint32))
        sums.add(self.layout.flat(measure(result, self.layout)))
        end_S = end_tokens(result, self.layout.lens)
        self.end_S[result.model] = np.maximum(self.end_S.get(result.model, end_S), end_S)
        self.caveats.setdefault(result.model, Caveats()).add(result)
        self.examples.add(result)

    @property
    def models(self) -> tuple[str, ...]:
        """In order of appearance."""
        return tuple(self._sums)

    @property
    def shown_names(self) -> dict[str, str]:
        """What a report calls each model: one that is a folder without the folders above it."""
        return shown_names([*self.models, *self.direct.models])

    @property
    def problems(self) -> tuple[str, ...]:
        """Of any model, sorted."""
        return tuple(sorted(self.direct.problems.union(*self._sums.values())))

    def means(self, model: str) -> Floats:
        """Mean over the traces of each problem, `value_NQ` in the order of `problems`; NaN where there is none."""
        rows = [self._sums[model].get(problem) for problem in self.problems]
        missing_Q = np.full(self.layout.size, np.nan)
        return np.stack([missing_Q if row is None else _mean(row.sum_Q, row.count_Q) for row in rows])

    def traces(self, model: str) -> NDArray[np.int64]:
        """Number of traces of each problem, `count_N`."""
        rows = [self._sums[model].get(problem) for problem in self.problems]
        return np.array([0 if row is None else row.num_traces for row in rows], np.int64)

    def restarts(self, model: str, kind: str) -> tuple[Floats, Floats]:
        """Accuracy of going on and of starting over, `NB` each (`restart`)."""
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        take = self.layout.take
        missing_B = np.full(self.layout.budget_B.shape, np.nan)
        pairs: list[tuple[Floats, Floats]] = []
        for problem in self.problems:
            row = self._sums[model].get(problem)
            pairs.append(
                (missing_B, missing_B)
                if row is None
                else restart_comparison(
                    num_traces=int(take("accuracy", row.count_Q.astype(np.float64))[0]),
                    sum_here_B=take("accuracy", row.sum_Q),
                    num_counted_B=take(f"{kind}_counted", row.sum_Q),
                    sum_counted_here_B=take(f"{kind}_here", row.sum_Q),
                    sum_later_B=take(f"{kind}_later", row.sum_Q),
                )
            )
        return np.stack([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])

    def difficulty(self) -> Floats:
        """How well each problem is solved, `value_N`: J[K] averaged over traces, then over models."""
        index = SCALARS.index("final")
        solved_MN = np.stack([self.layout.take("scalars", self.means(model))[:, index] for model in self.models])
        return mean_over_problems(solved_MN)


def terciles(difficulty_N: Floats) -> dict[str, NDArray[np.intp]]:
    """Problems by how well they are solved: a third each, `hard`, `medium` and `easy`; ties keep their order.

    Returns:
        Indices of the problems; empty with fewer than three problems that have a value.

    """
    known = np.flatnonzero(~np.isnan(difficulty_N))
    if known.size < 3:
        return {}
    order = known[np.argsort(difficulty_N[known], kind="stable")]
    return dict(zip(("hard", "medium", "easy"), np.array_split(order, 3), strict=True))


def _mean(sum_Q: Floats, count_Q: NDArray[np.uint32]) -> Floats:
    return np.divide(sum_Q, count_Q, out=np.full(sum_Q.shape, np.nan), where=count_Q > 0)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
