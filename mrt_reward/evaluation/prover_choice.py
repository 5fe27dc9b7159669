"""A recommendation among measured provers, with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.evaluation.bootstrap import TAIL
from mrt_reward.evaluation.claims import Claims
from mrt_reward.evaluation.provers import EXTREME, ProverMeasure

TOO_EXTREME = 0.8
"""Share of values at one end from which a prover counts as too weak or too strong."""

MEASURES = f"""distinguishes: variance of what steps from one prefix are worth to it; 0: it tells no step from another
aligns: above 0 where the steps that it values are those that help the policy
sum: of the two; the higher, the more it teaches
values about 0 / about 1: below {EXTREME:g} / above {1 - EXTREME:g}; many: it is too weak / too strong
not measured, not asked: it was not run here, but had scored the file before; a --prover is run"""
"""What the columns of a comparison mean, a line for each that its name does not say."""


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to use.

    Attributes:
        name: of the prover; None where none can be recommended.
        reasons: sentences, the deciding one first.

    """

    name: str | None
    reasons: tuple[str, ...]


def recommend(measures: Sequence[ProverMeasure]) -> Recommendation:
    """The prover with the highest bound; of those not distinguishable from it, the cheapest of known cost.

    A prover whose alignment is surely below 0 is never recommended: it would teach against the policy.
    """
    warnings = tuple(warning for measure in measures for warning in _warnings(measure))
    fit = [each for each in measures if each.bound.value is not None and not _opposes(each)]
    if not fit:
        return Recommendation(
            None, ("none can be recommended: no bound could be measured, or all work against the policy", *warnings)
        )
    best = max(fit, key=lambda each: each.bound.value or 0.0)
    equals = [each for each in fit if each is best or not _surely_better(best, each)]
    costs = {each.name: cost for each in equals if (cost := each.tokens_without_cache) is not None}
    chosen = min(equals, key=lambda each: costs.get(each.name, np.inf)) if costs else best
    reasons: list[str] = []
    if len(measures) == 1:
        reasons.append(f"{chosen.name} is the only one")
    elif len(equals) == 1:
        reasons.append(
            f"{best.name} has the highest sum of distinguishing and aligning, {_shown(best)}, and every other one is "
            "surely lower (95 %, paired by problem)"
        )
    else:
        names = ", ".join(f"{each.name} {_shown(each)}" for each in equals)
        cost = (
            f"of these, {chosen.name} costs least, {costs[chosen.name]:,.0f} tokens a trace without a cache"
            if costs
            else f"what they cost is not known, because a cache answered for all; {chosen.name} has the highest"
        )
        reasons.append(f"the highest sums of distinguishing and aligning do not differ surely ({names}); {cost}")
    if chosen.bound.low is not None and chosen.bound.low <= 0:
        num = chosen.bound.problems
        reasons.append(f"its interval reaches 0: {num} problems are too few to tell whether it teaches")
    return Recommendation(chosen.name, (*reasons, *warnings))


def _shown(measure: ProverMeasure) -> str:
    bound = measure.bound
    if bound.low is None or bound.high is None:
        return f"{bound.value:.4g}"
    return f"{bound.value:.4g} [{bound.low:.4g}, {bound.high:.4g}]"


def _surely_better(best: ProverMeasure, other: ProverMeasure) -> bool:
    """Whether the paired difference of the bounds is above 0 at its interval's lower end."""
    difference_R = best.bound_R - other.bound_R
    known_R = difference_R[np.isfinite(difference_R)]
    return known_R.size > 0 and best.bound.problems >= 2 and float(np.quantile(known_R, TAIL)) > 0


def _opposes(measure: ProverMeasure) -> bool:
    return measure.aligns.high is not None and measure.aligns.high < 0


def _warnings(measure: ProverMeasure) -> list[str]:
    lines: list[str] = []
    if _opposes(measure):
        lines.append(f"{measure.name} works against the policy: its alignment is surely below 0")
    if measure.low_share > TOO_EXTREME:
        lines.append(f"{measure.name} is too weak: {measure.low_share:.0%} of its values are about 0")
    if measure.high_share > TOO_EXTREME:
        lines.append(f"{measure.name} is too strong: {measure.high_share:.0%} of its values are about 1")
    if measure.claims is not None and measure.claims.too_much:
        lines.append(_for_claims(measure.name, measure.claims))
    if measure.cached > 0:
        lines.append(f"{measure.name} took {measure.cached:.0%} of its values from a cache, so its cost is understated")
    return lines


def _for_claims(name: str, claims: Claims) -> str:
    beside = "where honest traces earn nothing" if claims.share is None else f"{claims.share:.0%} of an honest trace"
    return (
        f"{name} pays for claims: a guessed answer that is stated without work earns {claims.guessed.value:+.3f}, "
        f"{beside}; a policy will find that, so look at its traces with `mrt-reward audit`"
    )
