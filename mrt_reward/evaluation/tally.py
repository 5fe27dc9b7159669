"""Gathers traces by model and problem: what is measured of them, what a reader should know, and some to show.

Dimension key: N problems · S sizes of a vote.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from mrt_reward.evaluation.measures import Lens, Points, direct_measures_of, direct_points, measures_of, points_of
from mrt_reward.evaluation.provenance import shown_names
from mrt_reward.evaluation.result import Result
from mrt_reward.mini.bundled import is_foreign
from mrt_reward.types import Status

Floats = NDArray[np.float64]


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
        answers: without thinking, all of them.
        cut_off: of these, ended by their budget.
        thought: that opened thinking all the same.
        unparsed: in which no answer was found; misses.
        ungraded: that could not be judged, and have no vote.

    """

    foreign: int = 0
    partial: int = 0
    without_episodes: int = 0
    provers: set[str] = field(default_factory=set[str])
    lower_bounds: bool = False
    warnings: dict[str, int] = field(default_factory=dict[str, int])
    answers: int = 0
    cut_off: int = 0
    thought: int = 0
    unparsed: int = 0
    ungraded: int = 0

    def add(self, result: Result) -> None:
        """One more trace, or one more problem answered without thinking."""
        scored = result.scored
        if result.evaluation is not None and (direct := result.evaluation.direct) is not None:
            [value] = scored.values
            self.answers += len(value.answers or ())
            self.cut_off += direct.truncated
            self.thought += direct.thought
            self.unparsed += value.unparsed or 0
            self.ungraded += value.ungraded or 0
            return
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
    """What is kept of all traces, by model and problem; a few hundred numbers of each.

    Args:
        lens: how traces are looked at.
        num_examples: traces to keep for reading.

    Attributes:
        lens: the same.
        examples: traces to read.
        caveats: by model; direct answers are a model of their own.

    """

    def __init__(self, lens: Lens, *, num_examples: int = NUM_EXAMPLES) -> None:
        self.lens = lens
        self.examples = Examples(num_examples)
        self.caveats: dict[str, Caveats] = {}
        self._points: dict[str, dict[str, list[Points]]] = {}
        self._direct: dict[str, dict[str, Points]] = {}

    def add(self, result: Result) -> None:
        """One more trace, or one more problem answered without thinking."""
        self.caveats.setdefault(result.answered_by, Caveats()).add(result)
        if result.is_direct:
            self._direct.setdefault(result.answered_by, {})[result.problem] = direct_points(result, self.lens)
            return
        of_model = self._points.setdefault(result.answered_by, {})
        of_model.setdefault(result.problem, []).append(points_of(result, self.lens))
        self.examples.add(result)

    @property
    def models(self) -> tuple[str, ...]:
        """That think, in order of appearance."""
        return tuple(self._points)

    @property
    def direct(self) -> tuple[str, ...]:
        """Models that answer without thinking."""
        return tuple(self._direct)

    @property
    def shown_names(self) -> dict[str, str]:
        """What a report calls each model: one that is a folder without the folders above it."""
        return shown_names([*self.models, *self.direct])

    @property
    def problems(self) -> tuple[str, ...]:
        """Of any model, sorted."""
        return tuple(
            sorted({problem for each in (self._points, self._direct) for one in each.values() for problem in one})
        )

    def measures(self, model: str) -> dict[str, Floats]:
        """What is measured of a model, by name (`measures_of`, `direct_measures_of`), with a first dimension N more.

        Its rows are in the order of `problems`; NaN where the model has none.
        """
        if model in self._direct:
            found = {problem: direct_measures_of(one, self.lens) for problem, one in self._direct[model].items()}
        else:
            found = {problem: measures_of(traces, self.lens) for problem, traces in self._points[model].items()}
        index = {problem: n for n, problem in enumerate(self.problems)}
        first = next(iter(found.values()))
        table = {name: np.full((len(index), *each.shape), np.nan) for name, each in first.items()}
        for problem, measures in found.items():
            for name, each in measures.items():
                table[name][index[problem]] = each
        return table

    def num_drawn(self, model: str) -> NDArray[np.int64]:
        """Number of traces of each problem, or of answers without thinking, `count_N`."""
        direct = {problem: [one] for problem, one in self._direct.get(model, {}).items()}
        of_model = self._points.get(model, direct)
        return np.array(
            [sum(each.num_drawn for each in of_model.get(problem, [])) for problem in self.problems], np.int64
        )

    def ends(self, model: str) -> Floats:
        """Where a model's longest trace ends, in tokens, for each size of a vote, `end_S`."""
        traces = [trace for each in self._points[model].values() for trace in each]
        return np.max([trace.token_SP[:, -1] for trace in traces], axis=0)


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


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
