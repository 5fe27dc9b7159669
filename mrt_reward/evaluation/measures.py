"""What one trace contributes: one flat vector of numbers, so that any number of traces can be added up.

Dimension key: P = K + 1 prefixes · K episodes · B budgets · C = 2B budgets · S sizes of a vote · E indices · H bins ·
Q all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.progress import WasteOptions
from mrt_reward.core.regret import majority_regret, regret_curve
from mrt_reward.evaluation.curves import accuracy_curve, accuracy_curves, budget_grid
from mrt_reward.evaluation.progress import (
    BIN_EDGES,
    NUM_QUARTERS,
    needless_share,
    progress_histogram,
    progress_shares,
    quarter_gains,
)
from mrt_reward.evaluation.restart import UNSOLVED, continuation
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.votes import vote_values
from mrt_reward.ranges import check_ranges
from mrt_reward.types import Value

Floats = NDArray[np.float64]

AUTHORS_SIZES = (1, 2, 4, 8)
"""Votes of the majority-vote comparator (`core.regret.majority_regret`)."""

MAX_INDEX = 64
"""Prefixes beyond this index are left out of the curves by episode."""

SCALARS = (
    "outcome", "final", "empty", "gain", "tokens", "sampled_tokens", "truncated", "episodes",
    "zero", "negative", "positive", "needless", "majority_regret", "stderr", "extended_tokens",
)  # fmt: skip
"""Numbers of a trace: reward; J[K]; J[0]; J[K] - J[0]; thinking tokens; tokens that the policy sampled; whether its
budget ended it; episodes; shares of episodes; share of thinking after the trace was solved; regret against majority
votes; mean standard error of its values; x where its extension ends."""


@dataclass(frozen=True)
class Lens(WasteOptions):
    """How traces are looked at.

    Attributes:
        budgets: of the caller, in tokens; put on the grid.
        sizes: k of the votes, increasing, from 1.
        weighted: whether votes count by 2^(mean log-probability), as the authors', instead of one each.

    """

    budgets: tuple[float, ...] = ()
    sizes: tuple[int, ...] = (1, 2, 4, 8)
    weighted: bool = False

    def __post_init__(self) -> None:
        if not all(budget > 0 for budget in self.budgets):
            raise ValueError(f"budgets must be above 0 tokens, got {self.budgets}")
        if not self.sizes or self.sizes[0] != 1 or list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes of a vote must increase from 1, got {self.sizes}")
        check_ranges(self)


class Layout:
    """Where each measure is in the flat vector.

    Args:
        lens: how traces are looked at.

    Attributes:
        budget_B: the grid.
        doubled_C: the grid, then twice each of its budgets.
        size: Q, the length of the vector.

    """

    def __init__(self, lens: Lens) -> None:
        self.lens = lens
        self.budget_B = budget_grid(*lens.budgets)
        self.doubled_C = np.concatenate([self.budget_B, 2 * self.budget_B])
        budgets, sizes = self.budget_B.size, len(lens.sizes)
        self._shapes: dict[str, tuple[int, ...]] = {
            "scalars": (len(SCALARS),),
            "accuracy": (budgets,),
            "regret": (budgets,),
            "votes": (sizes, budgets),
            "extended_accuracy": (budgets,),
            "extended_regret": (budgets,),
            "index_votes": (sizes, MAX_INDEX + 1),
            "index_tokens": (sizes, MAX_INDEX + 1),
            "histogram": (BIN_EDGES.size - 1,),
            "quarters": (NUM_QUARTERS,),
            **{f"{kind}_{what}": (budgets,) for kind in KINDS for what in ("counted", "here", "later")},
        }
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes.values()])
        self.size = int(ends[-1])
        self._slices = {
            name: slice(int(end) - int(np.prod(shape)), int(end))
            for (name, shape), end in zip(self._shapes.items(), ends, strict=True)
        }

    def flat(self, measures: Mapping[str, Floats]) -> Floats:
        """The measures in one vector `Q`; what is not among them is NaN."""
        vector_Q = np.full(self.size, np.nan)
        for name, array in measures.items():
            vector_Q[self._slices[name]] = array.reshape(-1)
        return vector_Q

    def take(self, name: str, vector: Floats) -> Floats:
        """One measure, from a vector `Q` or a matrix `NQ`, in its own shape."""
        return vector[..., self._slices[name]].reshape(*vector.shape[:-1], *self._shapes[name])


KINDS = ("running", "unsolved")
"""Which traces are compared with a restart: all that still run, or those of them that are not there yet."""


def measure(result: Result, layout: Layout) -> dict[str, Floats]:
    """Everything that a trace contributes; NaN where it cannot say.

    x of a prefix, in tokens: prompt, prefix and terminator, and k times the mean answer of that prefix for a vote of k.
    """
    lens, scored = layout.lens, result.scored
    value_P = numbers([value.value for value in scored.values])
    vote_SP, authors_4P = _votes(scored.values, lens)
    prefix_P, answer_P = _tokens(result)
    x_SP: Floats = prefix_P + np.array(lens.sizes, np.float64)[:, None] * answer_P
    budget_B = layout.budget_B
    vote_SC = accuracy_curves(x_SP, np.concatenate([value_P[None], vote_SP[1:]]), layout.doubled_C)
    accuracy_B, later_B = vote_SC[0, : budget_B.size], vote_SC[0, budget_B.size :]
    measures = {
        "scalars": _scalars(result, value_P, prefix_P, majority_regret_of(value_P, authors_4P), lens),
        "accuracy": accuracy_B,
        "regret": regret_curve(x_SP[0], value_P, budget_B),
        "votes": vote_SC[:, : budget_B.size],
        "index_votes": _by_index(vote_SP),
        "index_tokens": _by_index(x_SP),
        "histogram": progress_histogram(np.diff(value_P)),
        "quarters": quarter_gains(prefix_P, value_P),
    }
    if not np.isnan(accuracy_B).any():
        for kind in KINDS:
            below = UNSOLVED if kind == "unsolved" else np.inf
            part = continuation(accuracy_B, later_B, budget_B < x_SP[0, -1], below=below)
            measures[f"{kind}_counted"] = part.counted_B
            measures[f"{kind}_here"] = part.here_B * part.counted_B
            measures[f"{kind}_later"] = part.later_B
    return measures | _extended(result, x_SP[0], value_P, budget_B)


def end_tokens(result: Result, lens: Lens) -> Floats:
    """Where a trace's curve ends, in tokens, for each size of a vote, `end_S`."""
    prefix_P, answer_P = _tokens(result)
    return prefix_P[-1] + np.array(lens.sizes, np.float64) * answer_P[-1]


def numbers(values: Sequence[float | None]) -> Floats:
    """With NaN for what is missing."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _votes(values: Sequence[Value], lens: Lens) -> tuple[Floats, Floats]:
    """maj@k of each prefix for the lens's sizes and for the authors', `SP` and `4P`.

    Without the answers themselves, the lens has a prefix's value for k = 1, and nothing beyond.
    """
    sizes = sorted({*lens.sizes, *AUTHORS_SIZES})
    drawn_EP = np.transpose(
        np.array([vote_values(value.answers or (), sizes, weighted=lens.weighted) for value in values], np.float64)
    )
    vote_SP = drawn_EP[[sizes.index(size) for size in lens.sizes]]
    known_P = numbers([value.value for value in values])
    vote_SP[0] = np.where(np.isnan(known_P), vote_SP[0], known_P)
    return vote_SP, drawn_EP[[sizes.index(size) for size in AUTHORS_SIZES]]


def _tokens(result: Result) -> tuple[Floats, Floats]:
    """Tokens of each terminated prefix, and of its mean answer (0 where it is not known)."""
    scored = result.scored
    answer_P = np.array([value.answer_tokens or 0.0 for value in scored.values])
    if len(scored.prefix_tokens) == len(scored.values):
        return np.array(scored.prefix_tokens, np.float64), answer_P
    # Written before prefixes were recorded: the thinking alone, without prompt and terminator.
    offset = scored.episodes[0].token_start if scored.episodes else 0
    return np.array([0.0, *(episode.token_end - offset for episode in scored.episodes)]), answer_P


def _scalars(result: Result, value_P: Floats, prefix_P: Floats, against_votes: float, lens: Lens) -> Floats:
    scored, evaluation = result.scored, result.evaluation
    shares = progress_shares(np.diff(value_P), lens.waste_threshold)
    episodes = scored.episodes
    stderr_P = numbers([value.stderr for value in scored.values])
    known: dict[str, float | bool | None] = {
        "outcome": scored.outcome,
        "final": value_P[-1],
        "empty": value_P[0],
        "gain": value_P[-1] - value_P[0],
        "tokens": episodes[-1].token_end - episodes[0].token_start if episodes else 0,
        "sampled_tokens": evaluation and evaluation.sampled_tokens,
        "truncated": evaluation and evaluation.truncated,
        "episodes": len(episodes),
        "zero": shares.zero,
        "negative": shares.negative,
        "positive": shares.positive,
        "needless": needless_share(prefix_P, value_P),
        "majority_regret": against_votes,
        "stderr": float(stderr_P.mean()),
        "extended_tokens": evaluation.extension.prefix_tokens[-1]
        if evaluation and evaluation.extension and evaluation.extension.ends
        else None,
    }
    return numbers([known[name] for name in SCALARS])


def majority_regret_of(value_P: Floats, votes_4P: Floats) -> float:
    """`core.regret.majority_regret`; NaN where a value or a vote is missing, or nothing was thought."""
    if value_P.size < 2 or np.isnan(votes_4P).any() or np.isnan(value_P).any():
        return float("nan")
    return majority_regret(value_P, np.moveaxis(votes_4P, 0, 1))


def _by_index(array_SP: Floats) -> Floats:
    padded = np.full((array_SP.shape[0], MAX_INDEX + 1), np.nan)
    width = min(array_SP.shape[1], MAX_INDEX + 1)
    padded[:, :width] = array_SP[:, :width]
    return padded


def _extended(result: Result, x_P: Floats, value_P: Floats, budget_B: Floats) -> dict[str, Floats]:
    """The curve with the points that were forced beyond the trace's own end."""
    extension = result.evaluation and result.evaluation.extension
    if not extension or not extension.values:
        return {}
    more = [tokens + (value.answer_tokens or 0.0) for tokens, value in
            zip(extension.prefix_tokens, extension.values, strict=True)]  # fmt: skip
    x = np.append(x_P, np.array(more, np.float64))
    y = np.append(value_P, numbers([value.value for value in extension.values]))
    return {"extended_accuracy": accuracy_curve(x, y, budget_B), "extended_regret": regret_curve(x, y, budget_B)}
