"""Votes on direct answers, problem by problem: what they reach, and for how many tokens.

Dimension key: N problems · S sizes of a vote · B budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.evaluation.curves import accuracy_curve
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.votes import vote_values

Floats = NDArray[np.float64]

DOUBLINGS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Sizes of votes on direct answers, as far as there are answers."""


@dataclass(frozen=True, slots=True)
class DirectRow:
    """One model's direct answers to one problem.

    Attributes:
        value_S: maj@k; NaN where fewer than k answers have a vote.
        token_S: prompt, and k times the mean answer.
        accuracy_B: what votes reach for each budget: linear between the votes, constant after the largest.
        num_answers: behind it.

    """

    value_S: Floats
    token_S: Floats
    accuracy_B: Floats
    num_answers: int


@dataclass
class DirectCaveats:
    """What a reader of a model's direct answers should know; counts of answers.

    Attributes:
        answers: all of them.
        truncated: cut off by their budget.
        thought: that opened thinking all the same.
        unparsed: in which no answer was found; misses.
        ungraded: that could not be judged, and have no vote.

    """

    answers: int = 0
    truncated: int = 0
    thought: int = 0
    unparsed: int = 0
    ungraded: int = 0


class DirectTally:
    """Direct answers by model and problem; memory depends on the number of problems.

    Args:
        sizes: of votes that are asked for.
        budget_B: where thinking and votes are compared, in tokens.
        weighted: whether votes count by 2^(mean log-probability).

    """

    def __init__(self, sizes: Sequence[int], budget_B: Floats, *, weighted: bool = False) -> None:
        self._sizes = tuple(sorted({*DOUBLINGS, *sizes}))
        self._budget_B = budget_B
        self._weighted = weighted
        self._rows: dict[str, dict[str, DirectRow]] = {}
        self._caveats: dict[str, DirectCaveats] = {}

    def add(self, result: Result) -> None:
        """One more problem, of `Result.is_direct`."""
        [value], [prompt] = result.scored.values, result.scored.prefix_tokens
        answers = value.answers or ()
        size_S = np.array(self._sizes, np.float64)
        value_S = np.array(vote_values(answers, self._sizes, weighted=self._weighted), np.float64)
        token_S: Floats = prompt + size_S * (value.answer_tokens or 0.0)
        known_S = ~np.isnan(value_S)
        accuracy_B = accuracy_curve(token_S[known_S], value_S[known_S], self._budget_B)
        row = DirectRow(value_S, np.where(known_S, token_S, np.nan), accuracy_B, len(answers))
        self._rows.setdefault(result.model, {})[result.problem] = row
        caveats = self._caveats.setdefault(result.model, DirectCaveats())
        caveats.answers += len(answers)
        caveats.unparsed += value.unparsed or 0
        caveats.ungraded += value.ungraded or 0
        if result.evaluation is not None and result.evaluation.direct is not None:
            caveats.truncated += result.evaluation.direct.truncated
            caveats.thought += result.evaluation.direct.thought

    @property
    def models(self) -> tuple[str, ...]:
        """In order of appearance."""
        return tuple(self._rows)

    @property
    def problems(self) -> frozenset[str]:
        """Of any model."""
        return frozenset(problem for rows in self._rows.values() for problem in rows)

    def table(self, model: str, problems: Sequence[str]) -> DirectTable:
        """One model's answers to these problems, NaN where it has none."""
        missing = DirectRow(
            np.full(len(self._sizes), np.nan),
            np.full(len(self._sizes), np.nan),
            np.full(self._budget_B.shape, np.nan),
            0,
        )
        rows = [self._rows[model].get(problem, missing) for problem in problems]
        return DirectTable(
            self._sizes,
            np.stack([row.value_S for row in rows]),
            np.stack([row.token_S for row in rows]),
            np.stack([row.accuracy_B for row in rows]),
            np.array([row.num_answers for row in rows], np.int64),
            self._caveats[model],
        )


@dataclass(frozen=True, slots=True)
class DirectTable:
    """One model's `DirectRow`s, problem by problem.

    Attributes:
        sizes: S of them.
        value_NS: maj@k.
        token_NS: its tokens.
        accuracy_NB: at each budget.
        answer_N: answers behind each problem.
        caveats: of all its answers, whatever the problem.

    """

    sizes: tuple[int, ...]
    value_NS: Floats
    token_NS: Floats
    accuracy_NB: Floats
    answer_N: NDArray[np.int64]
    caveats: DirectCaveats
