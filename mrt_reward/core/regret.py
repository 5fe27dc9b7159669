"""Accuracy against budget, regret, and majority votes.

Dimension key: N points of a curve · B budgets · C answer classes · M answers · Q votes · P prefixes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = tuple[Floats, Floats]
"""Tokens spent and success rate when stopped there, of one trace."""

MAX_SUBSETS = 200_000
"""Most subsets that weighted votes are enumerated over."""


def _curve(token_N: Floats, value_N: Floats) -> Curve:
    """The curve with (0, 0) in front, sorted by tokens; points of equal tokens keep their order."""
    if token_N.ndim != 1 or token_N.shape != value_N.shape or token_N.size == 0:
        raise ValueError(f"expected two arrays of one shape (N,), N >= 1, got {token_N.shape} and {value_N.shape}")
    if not (np.isfinite(token_N).all() and np.isfinite(value_N).all()) or token_N.min() < 0:
        raise ValueError("tokens and values must be finite, and tokens at least 0; leave unscored traces out")
    order = np.argsort(token_N, kind="stable")
    return np.append(0.0, token_N[order]), np.append(0.0, value_N[order])


def accuracy_at(token_N: Floats, value_N: Floats, budget_B: Floats) -> Floats:
    """Accuracy when thinking is cut at each budget.

    Linear between the points, from (0, 0), and constant after the last one.

    Args:
        token_N: tokens spent at each point, at least 0.
        value_N: success rate there, in [0, 1].
        budget_B: budgets in tokens.

    Returns:
        `accuracy_B`.

    """
    if not (budget_B >= 0).all():
        raise ValueError(f"budgets must be at least 0 tokens, got {budget_B}")
    # Of points at the same budget, the last one counts from there on.
    return _interpolated(*_curve(token_N, value_N), budget_B)


def _interpolated(token_M: Floats, value_M: Floats, budget_B: Floats) -> Floats:
    """The curve at each budget; where it jumps, the value right after."""
    beyond = 2 * max(float(token_M[-1]), float(budget_B.max(initial=0.0))) + 1
    token_M, value_M = np.append(token_M, beyond), np.append(value_M, value_M[-1])
    after = np.maximum(np.searchsorted(token_M, budget_B, side="right"), 1)
    share_B = (budget_B - token_M[after - 1]) / (token_M[after] - token_M[after - 1])
    return value_M[after - 1] + share_B * (value_M[after] - value_M[after - 1])


def regret_curve(token_N: Floats, value_N: Floats, budget_B: Floats) -> Floats:
    """Normalised regret at every budget at once.

        NR(C) = 1 - (1/C) ∫₀^C acc(t) dt            (MRT, section 4.2, as the authors compute it)

    Average shortfall from an oracle that is right at once, over a budget: trapezoid through (0, 0) and the points,
    linear interpolation at C, constant after the last point. 1 - NR(C) is the area under the anytime curve up to C, as
    a share of C. Equals the authors' for increasing tokens; others are sorted, equal ones in the order given.

    Args:
        token_N: x as it is; ours counts prompt, prefix, terminator and the mean answer.
        value_N: success rate at each point, in [0, 1].
        budget_B: each C, in tokens, above 0.

    Returns:
        `regret_B` in [0, 1]; NaN throughout if the trace has no complete curve.

    """
    if token_N.size == 0 or np.isnan(value_N).any() or np.isnan(token_N).any():
        return np.full(budget_B.shape, np.nan)
    x, y = np.zeros(token_N.size + 1), np.zeros(token_N.size + 1)
    x[1:], y[1:] = token_N, value_N
    if (x[1:] < x[:-1]).any():
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
    area_N = np.zeros(x.size)
    np.cumsum((y[1:] + y[:-1]) / 2 * (x[1:] - x[:-1]), out=area_N[1:])
    # The points strictly inside each budget are done; the rest is a trapezoid to the budget, from the left of any jump.
    last = np.searchsorted(x, budget_B, side="left") - 1
    after = np.minimum(last + 1, x.size - 1)
    width_B, run_B = budget_B - x[last], x[after] - x[last]
    slope_B = np.divide(y[after] - y[last], run_B, out=np.zeros(budget_B.size), where=run_B > 0)
    return 1.0 - (area_N[last] + (y[last] + slope_B * width_B / 2) * width_B) / budget_B


def normalised_regret(token_N: Floats, value_N: Floats, budget: float) -> float:
    """`regret_curve` at one budget, in [0, 1].

    Raises:
        ValueError: the budget is not above 0 and finite, or the curve has no points or incomplete ones.

    """
    if not 0 < budget < math.inf:
        raise ValueError(f"budget must be above 0 tokens and finite, got {budget}")
    _curve(token_N, value_N)
    return float(regret_curve(token_N, value_N, np.array([budget], np.float64))[0])


def mean_normalised_regret(problems: Sequence[Sequence[Curve]], budget: float) -> float:
    """Normalised regret, averaged over the traces of each problem and then over problems."""
    if not problems or not all(problems):
        raise ValueError("expected at least one problem, and at least one trace of each")
    return float(np.mean([np.mean([normalised_regret(*trace, budget) for trace in traces]) for traces in problems]))


def cumulative_regret(*, value_P: Floats, comparator_P: Floats) -> float:
    """Summed shortfall from a comparator that knows the budget.

        Δ = Σ_{j=0}^{K-1} ( J_r(π*_{j+1}) - J[j + 1] )            (MRT, Definition 5.1)

    By keyword only, because the two swapped would give the negative.

    Args:
        value_P: of the prefixes.
        comparator_P: success rate of the best policy for each budget, from the empty prefix on.

    """
    if comparator_P.shape != value_P.shape or value_P.ndim != 1 or value_P.size == 0:
        raise ValueError(f"expected two arrays of one shape (P,), got {comparator_P.shape} and {value_P.shape}")
    return float((comparator_P[1:] - value_P[1:]).sum())


def majority_vote(count_C: Sequence[int], correct: int | None, k: int) -> float:
    """Probability that the majority of k distinct answers, drawn from those sampled, is right.

    Exact: every subset of size k counts once, and ties are split evenly.

    Args:
        count_C: how often each distinct answer was sampled.
        correct: index of the right one; None when nobody gave it.
        k: size of the vote, at most the number of answers.

    Returns:
        maj@k in [0, 1].

    """
    total = sum(count_C)
    if min(count_C, default=0) < 0 or not 1 <= k <= total:
        raise ValueError(f"expected counts >= 0 and 1 <= k <= {total}, got {list(count_C)} and k={k}")
    if correct is None:
        return 0.0
    if not 0 <= correct < len(count_C):
        raise ValueError(f"correct must be an index into {len(count_C)} counts, or None; got {correct}")
    others = [count for index, count in enumerate(count_C) if index != correct]
    won = 0.0
    for votes in range(1, min(k, count_C[correct]) + 1):
        ways = math.comb(count_C[correct], votes)
        won += ways * sum(
            ways_of_rest / (1 + num_tied) for num_tied, ways_of_rest in _rest(others, k - votes, votes).items()
        )
    return won / math.comb(total, k)


def _rest(count_C: Sequence[int], num_votes: int, most: int) -> Mapping[int, int]:
    """Ways to draw `num_votes` from the classes, none above `most`, by how many classes reach it."""
    ways: dict[tuple[int, int], int] = {(0, 0): 1}
    for count in count_C:
        grown: dict[tuple[int, int], int] = {}
        for (drawn, tied), number in ways.items():
            for votes in range(min(count, most, num_votes - drawn) + 1):
                key = (drawn + votes, tied + (votes == most))
                grown[key] = grown.get(key, 0) + number * math.comb(count, votes)
        ways = grown
    return {tied: number for (drawn, tied), number in ways.items() if drawn == num_votes}


def weighted_majority_vote(answers: Sequence[int], weights: Sequence[float], correct: int | None, k: int) -> float:
    """maj@k with a weight for each vote, such as the authors' 2^(mean log-probability); ties are split evenly.

    Args:
        answers: class of each sampled answer.
        weights: its weight, above 0.
        correct: the right class; None when nobody gave it.
        k: size of the vote.

    Raises:
        ValueError: there are more than `MAX_SUBSETS` subsets to enumerate.

    """
    fits = len(answers) == len(weights) and 1 <= k <= len(answers)
    if not fits or not all(0 < weight < math.inf for weight in weights):
        raise ValueError(
            f"expected one weight per answer, above 0 and finite, and 1 <= k <= {len(answers)}; got k={k} and "
            f"{len(weights)} weights from {min(weights, default=0)} to {max(weights, default=0)}"
        )
    num_subsets = math.comb(len(answers), k)
    if num_subsets > MAX_SUBSETS:
        raise ValueError(f"{num_subsets} subsets are too many to enumerate (at most {MAX_SUBSETS}); use fewer answers")
    return weighted_votes_won(_all_subsets(len(answers), k), answers, weights, correct)


@lru_cache(maxsize=32)
def _all_subsets(num_answers: int, k: int) -> NDArray[np.bool_]:
    """Which answers are in each subset of size k, `member_QM`."""
    index_Qk = np.array(list(combinations(range(num_answers), k)), np.intp)
    member_QM = np.zeros((len(index_Qk), num_answers), np.bool_)
    np.put_along_axis(member_QM, index_Qk, True, axis=1)
    return member_QM


def weighted_votes_won(
    member_QM: NDArray[np.bool_], answers: Sequence[int], weights: Sequence[float], correct: int | None
) -> float:
    """Share of some votes that the right class wins by weight; ties are split evenly.

    Args:
        member_QM: which answers vote in each of Q votes.
        answers: class of each sampled answer.
        weights: its weight, above 0.
        correct: the right class; None when nobody gave it.

    Returns:
        A number in [0, 1].

    """
    classes = sorted(set(answers))
    if correct not in classes:
        return 0.0
    weight_MC = np.array(weights, np.float64)[:, None] * (np.array(answers)[:, None] == np.array(classes))
    weight_QC: Floats = member_QM @ weight_MC
    # Sums that differ by rounding alone are ties.
    best_QC = weight_QC >= weight_QC.max(axis=1, keepdims=True) * (1 - 1e-12)
    return float((best_QC[:, classes.index(correct)] / best_QC.sum(axis=1)).mean())


VOTE_SIZES = np.array([1.0, 2.0, 4.0, 6.0])
"""Budgets, in answers, of the authors' majority-vote comparator."""
_SHARE_4: Floats = (VOTE_SIZES - VOTE_SIZES[0]) / (VOTE_SIZES[-1] - VOTE_SIZES[0])
_TRAPEZOID_4: Floats = (np.diff(VOTE_SIZES, append=VOTE_SIZES[-1]) + np.diff(VOTE_SIZES, prepend=VOTE_SIZES[0])) / 2


def majority_regret(value_P: Floats, votes_P4: Floats) -> float:
    """Regret against majority voting from where one stands (MRT, Appendix E, as the authors compute it).

    For each block i, thinking on is the line from J[i] to J[i + 1] over budgets 1 … 6; voting is the line through
    maj@1, maj@2, maj@4 and (maj@4 + maj@8)/2 at budgets 1, 2, 4 and 6. The optimum is the better of both everywhere.

        regret = Σ_i (∫ optimum - ∫ thinking) / Σ_i ∫ optimum

    Args:
        value_P: J of the prefixes.
        votes_P4: maj@1, maj@2, maj@4, maj@8 at each prefix.

    Returns:
        A number in [0, 1]; 0 when the optimum is 0 throughout.

    """
    if value_P.ndim != 1 or value_P.size == 0 or votes_P4.shape != (value_P.size, 4):
        raise ValueError(f"expected shapes (P,) and (P, 4), got {value_P.shape} and {votes_P4.shape}")
    voting_K4 = np.array(votes_P4[:-1], np.float64)
    voting_K4[:, 3] = votes_P4[:-1, 2:].mean(axis=1)
    thinking_K4 = value_P[:-1, None] + (value_P[1:] - value_P[:-1])[:, None] * _SHARE_4
    optimum = _area(np.maximum(voting_K4, thinking_K4))
    return (optimum - _area(thinking_K4)) / optimum if optimum > 0 else 0.0


def _area(curve_K4: Floats) -> float:
    """Area under all lines over `VOTE_SIZES` together."""
    return float((curve_K4 @ _TRAPEZOID_4).sum())
