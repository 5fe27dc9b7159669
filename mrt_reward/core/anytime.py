"""Progress paid by when it comes: the budget is not known, and what is known early is known under more of them.

        G[j] = Σ_{i≥j} r_prg[i]·w[i]          w[i] = S(x[i + 1]),  S(x) = P(budget > x)

With a budget that is uniform on [0, C], S(x) = max(0, 1 - x/C), and the sum is what episode j and all that follow take
off the regret of a step curve; with budgets that are point masses it is AnytimeReasoner's return (arXiv 2505.13438).
`trapezoid_weights` are those of `core.regret.normalised_regret`, which draws lines between the points:

        NR = 1 - J[0]·(1 - x[0]/(2C)) - Σ_i r_prg[i]·w[i]          for increasing x and x[0] ≤ C

Dimension key: G traces of a group · K episodes · P = K + 1 prefixes · M budgets. NaN marks what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def uniform_weights(token_P: Floats, budget: float) -> Floats:
    """S(x[i + 1]) of each episode under a budget that is uniform on [0, C].

    Args:
        token_P: x of the prefixes, in tokens: what has been spent when thinking is cut there.
        budget: C in tokens, above 0.

    Returns:
        `weight_K` in [0, 1].

    """
    _check(token_P, budget)
    return np.maximum(0.0, 1.0 - token_P[1:] / budget)


def point_weights(token_P: Floats, budget_M: Floats, share_M: Floats) -> Floats:
    """S(x[i + 1]) of each episode under a budget that is one of a few.

    Args:
        token_P: x of the prefixes, in tokens.
        budget_M: budgets in tokens, above 0.
        share_M: their probabilities; they sum to 1.

    Returns:
        `weight_K` in [0, 1].

    """
    if budget_M.shape != share_M.shape or budget_M.ndim != 1 or not (share_M >= 0).all():
        raise ValueError(f"expected a share of at least 0 for each budget, got {share_M} for {budget_M}")
    if not math.isclose(float(share_M.sum()), 1.0, abs_tol=1e-9):
        raise ValueError(f"shares must sum to 1, got {share_M}")
    _check(token_P, float(budget_M.min()))
    return np.asarray((budget_M[None, :] > token_P[1:, None]) @ share_M, np.float64)


def trapezoid_weights(token_P: Floats, budget: float) -> Floats:
    """What a unit of progress in each episode takes off the normalised regret, whose curve rises in lines.

        w[i] = 1 - (x[i] + x[i + 1]) / (2C)                       where x[i + 1] ≤ C
        w[i] = (C - x[i])² / (2C·(x[i + 1] - x[i]))               where x[i] < C < x[i + 1]
        w[i] = 0                                                  beyond

    Args:
        token_P: x of the prefixes, in tokens; must not fall.
        budget: C in tokens, above 0.

    Returns:
        `weight_K` in [0, 1].

    """
    _check(token_P, budget)
    start_K, end_K = token_P[:-1], token_P[1:]
    if (end_K < start_K).any():
        raise ValueError(f"tokens must not fall from prefix to prefix, got {token_P}")
    # An episode that crosses C is longer than nothing; elsewhere the divisor is not used.
    length_K = np.where(end_K > budget, end_K - start_K, 1.0)
    crossing_K = np.maximum(0.0, budget - start_K) ** 2 / (2.0 * budget * np.maximum(length_K, np.finfo(float).tiny))
    return np.where(end_K <= budget, 1.0 - (start_K + end_K) / (2.0 * budget), crossing_K)


def anytime_returns(progress_K: Floats, weight_K: Floats) -> Floats:
    """G[j] = Σ_{i≥j} r_prg[i]·w[i]; NaN from the first episode on whose progress, or a later one's, is missing.

    Args:
        progress_K: r_prg of each episode.
        weight_K: from one of the weights above.

    """
    if progress_K.shape != weight_K.shape:
        raise ValueError(f"expected one weight for each episode, got {weight_K.shape} for {progress_K.shape}")
    return np.cumsum((progress_K * weight_K)[::-1])[::-1]


def decision_baselines(
    return_G: Sequence[Floats | None], closed_G: Sequence[bool], size_G: Sequence[int]
) -> list[Floats]:
    """Leave-one-out baseline of every decision of each trace: of its episodes, and of closing after the last one.

    A trace decides before each episode to write it, and in the end, unless it is cut off, to close; the return of
    closing is 0. b[j] is the mean return of the other traces that come to a decision j, whichever they take.

    Args:
        return_G: `return_K` of each trace; None where it is not completely scored, and then it sets no baseline.
        closed_G: whether its thinking closed by itself.
        size_G: K, how many episodes it has.

    Returns:
        `baseline_P` of each trace, the last one for closing; 0 where no other trace comes so far.

    """
    if not len(return_G) == len(closed_G) == len(size_G):
        raise ValueError(f"expected as many of all, got {len(return_G)}, {len(closed_G)} and {len(size_G)}")
    decisions = [
        None if return_K is None else np.append(return_K, 0.0) if closed else return_K
        for return_K, closed in zip(return_G, closed_G, strict=True)
    ]

    def at(j: int, trace: int) -> float:
        there = [each[j] for k, each in enumerate(decisions) if k != trace and each is not None and each.size > j]
        return float(np.mean(there)) if there else 0.0

    return [np.array([at(j, trace) for j in range(size + 1)]) for trace, size in enumerate(size_G)]


def _check(token_P: Floats, budget: float) -> None:
    if token_P.ndim != 1 or token_P.size == 0 or not np.isfinite(token_P).all() or token_P.min() < 0:
        raise ValueError(f"token_P must have shape (P,) with P >= 1, finite and at least 0; got {token_P}")
    if not 0 < budget < math.inf:
        raise ValueError(f"a budget must be above 0 tokens and finite, got {budget}")
