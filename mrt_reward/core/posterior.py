"""A posterior of J along one trace: values nearly stand still and sometimes jump, so neighbours tell of each other.

Across each episode J jumps with probability `change`, to a value from Beta(`a`, `b`), and drifts a little otherwise.
All 2^K choices of episodes that jump are summed exactly, in O(P), on a grid of levels of J. Without drift J is
piecewise constant, and each segment's answers are Beta-binomial.

Independent answers are right with probability J each. Coupled ones are compared with the same answer m at the prefix
before, because what has not changed repeats them: a pair at J and J' is (right, right) with probability min(J, J'), and
so on, the most that its two rates allow, or independent with probability 1 - `coupling`.

What comes out is biased towards the prior and looks ahead at later prefixes. It is not the value J, and never goes by
that name: a caller chooses which of the two is paid.

Dimension key: P = K + 1 prefixes · K episodes · G levels of J.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mrt_reward.core.levels import NO_PAIRS, NUM_LEVELS, Floats, Levels, Pairs, levels_of
from mrt_reward.core.values import counts_of
from mrt_reward.options import PathPrior
from mrt_reward.types import Posterior, Value, Verdict

TAIL = 0.01
"""Probability outside an interval, on each side.

Less than 2.5 %, so that 95 % of intervals hold what is true although the prior is only near to it.
"""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What a trace's answers say, before any prior.

    Attributes:
        log_PG: logarithm of the likelihood of each prefix's independent answers.
        pairs_K: of each prefix after the first, with the one before it.

    """

    log_PG: Floats
    pairs_K: tuple[Pairs, ...]


def posterior(values: Sequence[Value], prior: PathPrior, likelihood_P: Floats | None = None) -> Posterior | None:
    """Posterior of J at each prefix of one trace, and of its progress.

        p(answers) = Σ_jumps h^|jumps| (1 - h)^(K - |jumps|) Σ_levels p(levels | jumps) Π_prefixes p(answers | levels)

    Args:
        values: K + 1 of them, from sampled answers; coupled where they have `verdicts`.
        prior: h and the rest.
        likelihood_P: of the gold answer, in [0, 1]; each counts as `prior.strength` independent answers of its prefix.

    Returns:
        None where one of the values is missing, or no rate of right answers.

    Raises:
        ValueError: there are not as many likelihoods as values, or one is outside [0, 1].

    """
    evidence = _evidence(values, prior, likelihood_P)
    if evidence is None:
        return None
    levels = levels_of(prior)
    law_PG, _ = _forward(levels, evidence)
    beliefs = [_belief(levels, law_PG[-1])]
    moves: list[_Move] = []
    for joint_GG, unchanged in _backward(levels, evidence, law_PG):
        beliefs.append(_belief(levels, joint_GG.sum(axis=1)))
        moves.append(_move(levels, joint_GG, unchanged))
    beliefs.reverse()
    moves.reverse()
    return Posterior(
        means=tuple(each.mean for each in beliefs),
        intervals=tuple((each.low, each.high) for each in beliefs),
        unchanged=tuple(each.unchanged for each in moves),
        progress_stderrs=tuple(each.stderr for each in moves),
        progress_intervals=tuple((each.low, each.high) for each in moves),
    )


def log_evidence(values: Sequence[Value], prior: PathPrior, likelihood_P: Floats | None = None) -> float | None:
    """Logarithm of the probability of a trace's answers in their order, given its likelihoods; arguments as above."""
    evidence = _evidence(values, prior, likelihood_P)
    if evidence is None:
        return None
    levels = levels_of(prior)
    found = _forward(levels, evidence)[1]
    if likelihood_P is None:
        return found
    known = _Evidence(_log_rates(levels, *_as_answers(likelihood_P, prior)), (NO_PAIRS,) * len(evidence.pairs_K))
    return found - _forward(levels, known)[1]


def _evidence(values: Sequence[Value], prior: PathPrior, likelihood_P: Floats | None) -> _Evidence | None:
    counts = [counts_of(value) for value in values]
    known = [count for count in counts if count is not None]
    if not known or len(known) < len(values):
        return None
    pairs_K = tuple(_pairs(before, after) for before, after in pairwise(values))
    # What has a partner tells by its pair alone.
    right_P = np.array([right for right, _ in known], np.float64)
    right_P[1:] -= [twice + gained for twice, _, gained, _ in pairs_K]
    graded_P = np.array([graded for _, graded in known], np.float64)
    graded_P[1:] -= [sum(pairs) for pairs in pairs_K]
    if likelihood_P is not None:
        if likelihood_P.shape != right_P.shape or not ((likelihood_P >= 0) & (likelihood_P <= 1)).all():
            raise ValueError(f"expected {right_P.size} likelihoods in [0, 1], got {likelihood_P.tolist()}")
        right, graded = _as_answers(likelihood_P, prior)
        right_P, graded_P = right_P + right, graded_P + graded
    return _Evidence(_log_rates(levels_of(prior), right_P, graded_P), pairs_K)


def _as_answers(likelihood_P: Floats, prior: PathPrior) -> tuple[Floats, Floats]:
    """Right answers and all answers that likelihoods count as."""
    return prior.strength * likelihood_P, np.full(likelihood_P.shape, prior.strength)


def _log_rates(levels: Levels, right_P: Floats, graded_P: Floats) -> Floats:
    return np.outer(right_P, np.log(levels.level_G)) + np.outer(graded_P - right_P, np.log1p(-levels.level_G))


def _pairs(before: Value, after: Value) -> Pairs:
    """Answers m that were graded at both; none of values that are not coupled."""
    met = Counter(zip(before.verdicts or (), after.verdicts or (), strict=False))
    right = Verdict.CORRECT
    wrong = (Verdict.INCORRECT, Verdict.UNPARSED)
    return (
        met[right, right],
        sum(met[right, miss] for miss in wrong),
        sum(met[miss, right] for miss in wrong),
        sum(met[first, second] for first in wrong for second in wrong),
    )


def _forward(levels: Levels, evidence: _Evidence) -> tuple[Floats, float]:
    """Law of each level given the answers up to its prefix, and the logarithm of the probability of all answers."""
    law_PG = np.empty(evidence.log_PG.shape)
    scale_P = evidence.log_PG.max(axis=1)
    weight_PG = np.exp(evidence.log_PG - scale_P[:, None])
    log_total = float(scale_P.sum())
    coming_G = levels.start_G
    for j, weight_G in enumerate(weight_PG):
        if j:
            moved = levels.moved(evidence.pairs_K[j - 1])
            coming_G, log_total = law_PG[j - 1] @ moved.move_GG, log_total + moved.log_scale
        law_PG[j] = coming_G * weight_G
        total = float(law_PG[j].sum())
        law_PG[j] /= total
        log_total += math.log(total)
    return law_PG, log_total


def _backward(levels: Levels, evidence: _Evidence, law_PG: Floats) -> Iterator[tuple[Floats, float]]:
    """From the last episode to the first: the law of its two levels given all answers, and of not having jumped."""
    weight_PG = np.exp(evidence.log_PG - evidence.log_PG.max(axis=1, keepdims=True))
    ahead_G = np.ones(NUM_LEVELS)
    for j in range(len(law_PG) - 2, -1, -1):
        moved = levels.moved(evidence.pairs_K[j])
        ahead_G = ahead_G * weight_PG[j + 1]
        joint_GG = law_PG[j][:, None] * moved.move_GG * ahead_G
        total = joint_GG.sum()
        unchanged = float(law_PG[j] @ moved.still_GG @ ahead_G / total)
        yield joint_GG / total, min(1.0, unchanged)
        ahead_G = moved.move_GG @ ahead_G
        ahead_G /= ahead_G.max()


@dataclass(frozen=True, slots=True)
class _Belief:
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Move:
    unchanged: float
    stderr: float
    low: float
    high: float


def _belief(levels: Levels, law_G: Floats) -> _Belief:
    """Mean and interval of a level; a cell that holds an end is within the interval as a whole."""
    below_G = np.cumsum(law_G)
    low, high = np.searchsorted(below_G, (TAIL, below_G[-1] - TAIL))
    return _Belief(float(law_G @ levels.level_G), float(levels.bound_B[low]), float(levels.bound_B[high + 1]))


def _move(levels: Levels, joint_GG: Floats, unchanged: float) -> _Move:
    """Of the difference of two levels; the interval holds its mean."""
    law_D = joint_GG.ravel()[levels.order_D]
    below_D = np.cumsum(law_D)
    low, high = levels.difference_D[np.searchsorted(below_D, (TAIL, below_D[-1] - TAIL))].tolist()
    mean = float(law_D @ levels.difference_D)
    variance = float(law_D @ (levels.difference_D - mean) ** 2)
    return _Move(unchanged, math.sqrt(variance), min(low, mean), max(high, mean))
