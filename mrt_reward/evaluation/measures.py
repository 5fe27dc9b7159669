"""What a report measures of the traces of one problem: numbers and curves, by name.

Of a trace only its points are kept; curves over all budgets, which are far longer, are made problem by problem. Answers
without thinking are the same with other points: votes of 1, 2, 4, ... of them stand where a trace has its prefixes.

Dimension key: P = K + 1 prefixes · K episodes · B budgets · C = 2B budgets · S sizes of a vote · E indices · T traces ·
Y sizes of a vote without thinking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.progress import WasteOptions, nan_array
from mrt_reward.core.regret import majority_regret, regret_curve
from mrt_reward.evaluation.bootstrap import mean_of_known
from mrt_reward.evaluation.curves import accuracy_curve, accuracy_curves, budget_grid
from mrt_reward.evaluation.progress import needless_share, progress_histogram, progress_shares, quarter_gains
from mrt_reward.evaluation.restart import UNSOLVED, restart_comparison
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.votes import vote_values
from mrt_reward.ranges import check_ranges
from mrt_reward.types import Value

Floats = NDArray[np.float64]

AUTHORS_SIZES = (1, 2, 4, 8)
"""Votes of the majority-vote comparator (`core.regret.majority_regret`)."""

DOUBLINGS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Sizes of votes on answers without thinking, as far as there are answers."""

MAX_INDEX = 64
"""Prefixes beyond this index are left out of the curves by episode."""

SCALARS = (
    "outcome", "final", "empty", "gain", "tokens", "sampled_tokens", "truncated", "episodes",
    "zero", "negative", "positive", "needless", "majority_regret", "stderr", "extended_tokens",
)  # fmt: skip
"""Numbers of a trace: reward; J[K]; J[0]; J[K] - J[0]; thinking tokens; tokens that the policy sampled; whether its
budget ended it; episodes; shares of episodes; share of thinking after the trace was solved; regret against majority
votes; mean standard error of its values; x where its extension ends."""

KINDS = {"running": np.inf, "unsolved": UNSOLVED}
"""Which traces are compared with a restart: all that still run, or those of them whose accuracy is below this."""


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

    @cached_property
    def budget_B(self) -> Floats:  # noqa: N802 - the name of an array
        """The grid of budgets, in tokens, increasing."""
        return budget_grid(*self.budgets)

    @cached_property
    def doubled_C(self) -> Floats:  # noqa: N802 - the name of an array
        """The grid, then twice each of its budgets."""
        return np.concatenate([self.budget_B, 2 * self.budget_B])

    @property
    def direct_sizes(self) -> tuple[int, ...]:
        """Y: k of the votes on answers without thinking."""
        return tuple(sorted({*DOUBLINGS, *self.sizes}))


@dataclass(frozen=True, slots=True)
class Points:
    """What is kept of a trace, or of a problem that was answered without thinking.

    Attributes:
        token_SP: x of each prefix, in tokens: prompt, prefix, terminator, and k times its mean answer for a vote of k.
            Without thinking S is 1, and P is Y: the prompt and k times the mean answer, NaN where there is no vote.
        value_SP: maj@k of each prefix, the first row being its value; without thinking maj@k of each of the Y sizes.
        prefix_P: tokens of each terminated prefix.
        scalars: by name; those of `SCALARS` that are known.
        extended: x and value of points that were forced beyond the trace's own end.
        num_drawn: traces, or answers without thinking, that it stands for.

    """

    token_SP: Floats
    value_SP: Floats
    prefix_P: Floats
    scalars: Mapping[str, float]
    extended: tuple[Floats, Floats] | None = None
    num_drawn: int = 1


def points_of(result: Result, lens: Lens) -> Points:
    """What is kept of a trace; NaN where it cannot say."""
    values = result.scored.values
    prefix_P, answer_P = _tokens(result)
    token_SP: Floats = prefix_P + np.array(lens.sizes, np.float64)[:, None] * answer_P
    value_P = nan_array(value.value for value in values)
    value_SP, authors_4P = _votes(values, lens)
    scalars = _scalars(result, value_P, prefix_P, lens) | {"majority_regret": _majority_regret(value_P, authors_4P)}
    extension = result.evaluation and result.evaluation.extension
    if not extension or not extension.values:
        return Points(token_SP, value_SP, prefix_P, scalars)
    more = np.add(extension.prefix_tokens, [value.answer_tokens or 0.0 for value in extension.values])
    extended = np.append(token_SP[0], more), np.append(value_P, nan_array(value.value for value in extension.values))
    return Points(token_SP, value_SP, prefix_P, scalars, extended)


def direct_points(result: Result, lens: Lens) -> Points:
    """What is kept of a problem answered without thinking, of `Result.is_direct`."""
    [value], [prompt] = result.scored.values, result.scored.prefix_tokens
    answers = value.answers or ()
    value_Y = np.array(vote_values(answers, lens.direct_sizes, weighted=lens.weighted), np.float64)
    token_Y = prompt + np.array(lens.direct_sizes, np.float64) * (value.answer_tokens or 0.0)
    token_Y[np.isnan(value_Y)] = np.nan
    return Points(token_Y[None], value_Y[None], np.array([prompt], np.float64), {}, num_drawn=len(answers))


def measures_of(traces: Sequence[Points], lens: Lens) -> dict[str, Floats]:
    """Everything that is measured of a model on one problem, each a mean over its traces.

    Returns:
        The `SCALARS` (no dimension); `accuracy`, `regret` and their `extended_` forms, `B`; `votes`, `SB`;
        `index_votes` and `index_tokens`, `SE`; `histogram`, `H`; `quarters`, `4`; accuracy of going on and of starting
        over (`restart`), `B`: `running:continued`, `running:restarted`, and the same of `unsolved`. NaN where nothing
        is known.

    """
    curve_TSC = np.stack([accuracy_curves(trace.token_SP, trace.value_SP, lens.doubled_C) for trace in traces])
    size = lens.budget_B.size
    here_TB, later_TB = curve_TSC[:, 0, :size], curve_TSC[:, 0, size:]
    means = {
        **{name: _mean(trace.scalars[name] for trace in traces) for name in SCALARS},
        "accuracy": mean_of_known(here_TB),
        "regret": _mean(regret_curve(trace.token_SP[0], trace.value_SP[0], lens.budget_B) for trace in traces),
        "votes": mean_of_known(curve_TSC[:, :, :size]),
        "index_votes": _mean(_by_index(trace.value_SP) for trace in traces),
        "index_tokens": _mean(_by_index(trace.token_SP) for trace in traces),
        "histogram": _mean(progress_histogram(np.diff(trace.value_SP[0])) for trace in traces),
        "quarters": _mean(quarter_gains(trace.prefix_P, trace.value_SP[0]) for trace in traces),
        **_extended([trace.extended for trace in traces], lens.budget_B),
    }
    complete_T = ~np.isnan(curve_TSC[:, 0]).any(axis=1)
    runs_TB = lens.budget_B < np.array([trace.token_SP[0, -1] for trace in traces])[:, None]
    for kind, below in KINDS.items():
        both = restart_comparison(here_TB[complete_T], later_TB[complete_T], runs_TB[complete_T], below=below)
        means[f"{kind}:continued"], means[f"{kind}:restarted"] = both
    return means


def direct_measures_of(problem: Points, lens: Lens) -> dict[str, Floats]:
    """The same of answers without thinking.

    Returns:
        `accuracy` and `regret` of as many votes as a budget buys, `B`, linear between the sizes; `votes`, `SB`, which
        are as accurate, whatever the size; `direct_votes` and `direct_tokens` by size, `Y`.

    """
    token_Y, value_Y = problem.token_SP[0], problem.value_SP[0]
    known_Y = ~np.isnan(value_Y)
    accuracy_B = accuracy_curve(token_Y[known_Y], value_Y[known_Y], lens.budget_B)
    return {
        "accuracy": accuracy_B,
        "regret": regret_curve(token_Y[known_Y], value_Y[known_Y], lens.budget_B),
        "votes": np.tile(accuracy_B, (len(lens.sizes), 1)),
        "direct_votes": value_Y,
        "direct_tokens": token_Y,
    }


def _mean(each: Iterable[Floats | float]) -> Floats:
    return mean_of_known(np.stack([np.asarray(one, np.float64) for one in each]))


def _extended(extended: Sequence[tuple[Floats, Floats] | None], budget_B: Floats) -> dict[str, Floats]:
    """Curves with the points that were forced beyond the traces' own ends."""
    known = [each for each in extended if each is not None]
    if not known:
        missing_B = np.full(budget_B.shape, np.nan)
        return {"extended_accuracy": missing_B, "extended_regret": missing_B}
    return {
        "extended_accuracy": _mean(accuracy_curve(x, y, budget_B) for x, y in known),
        "extended_regret": _mean(regret_curve(x, y, budget_B) for x, y in known),
    }


def _votes(values: Sequence[Value], lens: Lens) -> tuple[Floats, Floats]:
    """maj@k of each prefix for the lens's sizes and for the authors', `SP` and `4P`.

    Without the answers themselves, the lens has a prefix's value for k = 1, and nothing beyond.
    """
    sizes = sorted({*lens.sizes, *AUTHORS_SIZES})
    drawn_EP = np.transpose(
        np.array([vote_values(value.answers or (), sizes, weighted=lens.weighted) for value in values], np.float64)
    )
    vote_SP = drawn_EP[[sizes.index(size) for size in lens.sizes]]
    # What the prover says of one answer is sharper than a count.
    vote_SP[0] = nan_array(value.value for value in values)
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


def _scalars(result: Result, value_P: Floats, prefix_P: Floats, lens: Lens) -> dict[str, float]:
    scored, evaluation = result.scored, result.evaluation
    shares = progress_shares(np.diff(value_P), lens.waste_threshold)
    episodes = scored.episodes
    extension = evaluation and evaluation.extension
    known: dict[str, float | None] = {
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
        "stderr": float(nan_array(value.stderr for value in scored.values).mean()),
        "extended_tokens": extension.prefix_tokens[-1] if extension and extension.ends else None,
    }
    return {name: np.nan if number is None else float(number) for name, number in known.items()}


def _majority_regret(value_P: Floats, votes_4P: Floats) -> float:
    """`core.regret.majority_regret`; NaN where a value or a vote is missing, or nothing was thought."""
    if value_P.size < 2 or np.isnan(votes_4P).any() or np.isnan(value_P).any():
        return float("nan")
    return majority_regret(value_P, np.moveaxis(votes_4P, 0, 1))


def _by_index(array_SP: Floats) -> Floats:
    padded = np.full((array_SP.shape[0], MAX_INDEX + 1), np.nan)
    width = min(array_SP.shape[1], MAX_INDEX + 1)
    padded[:, :width] = array_SP[:, :width]
    return padded
