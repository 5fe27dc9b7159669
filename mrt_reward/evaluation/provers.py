"""Which prover teaches most: what *Rewarding Progress* (arXiv 2410.08146) says matters, measured on the same traces.

Its Theorem 3.1 bounds the policy's improvement from below by a multiple of

    E_s Var_{a~π}[A^μ(s, a)]  +  E_s E_{a~π}[A^μ(s, a)·A^π(s, a)]
      how well it tells steps apart        how far it agrees with the policy's own advantage

where A^μ(s, a) is progress, s a prefix and a the episode that follows. A prover that is too weak is wrong after every
step, and one that is too strong is right after every step: both distinguish nothing.

The variance is taken over steps from one prefix, which traces of a problem share at least at `z[:0]`, and sampling
noise is subtracted. The policy's own advantage A^π comes from its continuations where they were sampled; otherwise
from the outcomes of the traces that share a prefix, each against the mean of the others, which is unbiased but needs
company.

Dimension key: N problems · E episodes · R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.core.progress import WasteOptions, waste_mask
from mrt_reward.core.values import counts_of
from mrt_reward.evaluation.bootstrap import Estimate, Floats, estimate, ratio_of_sums, resample_counts
from mrt_reward.evaluation.claims import Claims
from mrt_reward.evaluation.pool import indices_by_problem
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.states import EpisodeAt, states
from mrt_reward.types import Value

PolicyValues = Mapping[bytes, Value]
"""The policy's own success rate after prefixes, by their key (`Result.prefix_keys`)."""

EXTREME = 0.02
"""A value this close to 0 or 1 leaves no room for progress one way."""


@dataclass(frozen=True, slots=True)
class ProverMeasure:
    """What one prover's scores are worth.

    Attributes:
        name: of the prover.
        distinguishes: E Var[A^μ] over steps from one prefix, noise subtracted; may fall below 0 by chance.
        aligns: E⟨A^μ, A^π⟩.
        bound: their sum, what Theorem 3.1 is about.
        bound_R: resamples of it, with the same problems for all provers, so that differences are paired.
        spread: variance of progress over all episodes, whatever their prefix.
        waste: share of episodes whose |progress| is below the usual threshold (`WasteOptions`).
        low_share: share of values below `EXTREME`: too weak.
        high_share: share of values above 1 - `EXTREME`: too strong.
        tokens: computed for a trace, on average.
        cached: share of probes that were answered from a cache and cost nothing this time.
        seconds: wall-clock time for a trace, on average; None where it was scored elsewhere.
        traces: behind all this.
        claims: what it pays for claims without work; None where it was not asked.

    """

    name: str
    distinguishes: Estimate
    aligns: Estimate
    bound: Estimate
    bound_R: Floats
    spread: float
    waste: float
    low_share: float
    high_share: float
    tokens: float
    cached: float
    seconds: float | None
    traces: int
    claims: Claims | None = None

    @property
    def tokens_without_cache(self) -> float | None:
        """Tokens of a trace, had no probe been answered from a cache; None where all were."""
        return self.tokens / (1 - self.cached) if self.cached < 1 else None


@dataclass(frozen=True, slots=True)
class Scores:
    """One prover's scores of the traces.

    Attributes:
        name: of the prover.
        traces: scored; those without all values are left out.
        seconds: it took, if it was done here.
        claims: what the prover pays for claims, if it was asked here.

    """

    name: str
    traces: Sequence[Result]
    seconds: float | None = None
    claims: Claims | None = None


def common_traces(scores: Sequence[Scores]) -> list[Scores]:
    """The same traces in the same order for all: those that every prover scored wholly, cut at the same offsets.

    Raises:
        ValueError: there is none.

    """
    cuts = [{trace.trace.id: _cuts(trace) for trace in each.traces if trace.is_complete} for each in scores]
    shared = [name for name, where in cuts[0].items() if all(other.get(name) == where for other in cuts[1:])]
    if not shared:
        raise ValueError(
            "expected traces that all provers scored, cut at the same offsets: score the same file with one segmenter"
        )
    by_name = [{trace.trace.id: trace for trace in each.traces} for each in scores]
    return [replace(each, traces=[named[name] for name in shared]) for each, named in zip(scores, by_name, strict=True)]


def _cuts(trace: Result) -> tuple[int, ...]:
    return tuple(trace.char_at(j) for j in range(trace.num_episodes + 1))


def measure(scores: Scores, policy: PolicyValues | None = None, *, seed: int = 0) -> ProverMeasure:
    """Measure one prover.

    Args:
        scores: of traces that all have their values (`common_traces`).
        policy: the policy's own values after prefixes; None reads its advantage off the traces' outcomes.
        seed: of the resamples; the same one makes provers comparable.

    """
    problems = indices_by_problem(scores.traces)
    count_RN = resample_counts(len(problems), seed=seed)
    squares_N2, product_N2 = np.zeros((len(problems), 2)), np.zeros((len(problems), 2))
    for n, indices in enumerate(problems):
        for steps in states([scores.traces[j] for j in indices]).values():
            squares_N2[n] += _squares(steps)
            product_N2[n] += _products(steps, policy)
    distinguishes, distinguishes_R = ratio_of_sums(squares_N2, count_RN)
    aligns, aligns_R = ratio_of_sums(product_N2, count_RN)
    bound_R = distinguishes_R + aligns_R
    num_traces = len(scores.traces)
    progress_E = np.concatenate([np.diff(trace.values) for trace in scores.traces])
    value_V = np.concatenate([trace.values for trace in scores.traces])
    usages = [trace.scored.usage for trace in scores.traces]

    def estimated(value: float, sample_R: Floats) -> Estimate:
        return estimate(value, sample_R, problems=len(problems), traces=num_traces)

    return ProverMeasure(
        scores.name,
        estimated(distinguishes, distinguishes_R),
        estimated(aligns, aligns_R),
        estimated(distinguishes + aligns, bound_R),
        bound_R,
        spread=float(progress_E.var(ddof=1)) if progress_E.size > 1 else 0.0,
        waste=float(np.mean(waste_mask(progress_E, WasteOptions().waste_threshold))),
        low_share=float(np.mean(value_V < EXTREME)),
        high_share=float(np.mean(value_V > 1 - EXTREME)),
        tokens=float(np.mean([usage.computed_tokens for usage in usages])),
        cached=sum(usage.cached_probes for usage in usages) / max(1, sum(usage.probes for usage in usages)),
        seconds=None if scores.seconds is None else scores.seconds / num_traces,
        traces=num_traces,
        claims=scores.claims,
    )


def _squares(steps: Sequence[EpisodeAt]) -> tuple[float, float]:
    """Of the steps from one prefix: squared deviations of the values after them, less their noise; and n - 1."""
    if len(steps) < 2:
        return 0.0, 0.0
    after_A = np.array([_known(step.after.value) for step in steps])
    noise_A = np.array([_noise(step.after) for step in steps])
    freedom = len(steps) - 1
    return float(((after_A - after_A.mean()) ** 2).sum() - freedom * noise_A.mean()), float(freedom)


def _noise(value: Value) -> float:
    """Variance of a value by sampling: p(1 - p)/(n - 1) of a share of n answers, which is unbiased; else stderr²."""
    counted = counts_of(value)
    if counted is not None and counted[1] > 1:
        correct, graded = counted
        return correct / graded * (1 - correct / graded) / (graded - 1)
    return _known(value.stderr) ** 2


def _products(steps: Sequence[EpisodeAt], policy: PolicyValues | None) -> tuple[float, float]:
    """Of the steps from one prefix: the sum of A^μ·A^π, and how many there are."""
    own_A = _policy_advantages(steps, policy)
    progress_A = np.array([_known(step.after.value) - _known(step.before.value) for step in steps])
    known_A = np.isfinite(own_A)
    return float((progress_A * own_A)[known_A].sum()), float(known_A.sum())


def _policy_advantages(steps: Sequence[EpisodeAt], policy: PolicyValues | None) -> Floats:
    """A^π of the steps from one prefix; NaN where it is not known.

    From continuations: Q^π after the step minus V^π before it. From outcomes: r minus the mean of the others', which
    all pass through the same prefix.
    """
    if policy is None:
        outcomes = [step.trace.scored.outcome for step in steps]
        outcome_A = np.array([np.nan if outcome is None else outcome for outcome in outcomes])
        known_A = np.isfinite(outcome_A)
        num_others = known_A.sum() - 1
        if num_others < 1:
            return np.full(len(steps), np.nan)
        return outcome_A - (outcome_A[known_A].sum() - outcome_A) / num_others
    pairs = [(policy.get(before), policy.get(after)) for before, after in map(_ends, steps)]
    return np.array(
        [
            np.nan if v is None or q is None or v.value is None or q.value is None else q.value - v.value
            for v, q in pairs
        ]
    )


def _ends(step: EpisodeAt) -> tuple[bytes, bytes]:
    keys = list(step.trace.prefix_keys())
    return keys[step.index], keys[step.index + 1]


def agreement(first: Scores, second: Scores) -> float | None:
    """Correlation of the progress that two provers give to the same episodes; None where one does not vary.

    Args:
        first: of `common_traces`.
        second: of the same call.

    """
    one_E, other_E = (np.concatenate([np.diff(trace.values) for trace in each.traces]) for each in (first, second))
    if one_E.size < 2 or one_E.std() == 0 or other_E.std() == 0:
        return None
    return float(np.corrcoef(one_E, other_E)[0, 1])


def _known(number: float | None) -> float:
    assert number is not None  # noqa: S101 - steps without values are left out of states
    return number
