"""How far an estimator is from a reference, on the same traces, and what it spent.

The reference is whatever is nearest to the truth: likelihood where that is exact, or many answers a prefix. Its own
sampling noise is counted as error of all that is compared with it, so it should be much the smaller.

Dimension key: N problems · T traces · P prefixes of a trace · K = P - 1 episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mrt_reward.core.prior_fit import fit_prior
from mrt_reward.core.progress import WasteOptions, nan_array
from mrt_reward.evaluation.bootstrap import Estimate, Floats, estimate, ratio_of_sums, resample_counts
from mrt_reward.evaluation.pool import indices_by_problem
from mrt_reward.evaluation.provers import Scores
from mrt_reward.evaluation.result import Result
from mrt_reward.options import PathPrior
from mrt_reward.types import Episode, Value

VALUE_BINS = (0.2, 0.4, 0.6, 0.8)
PROGRESS_BINS = (-0.5, -0.02, 0.02, 0.2, 0.5)
"""Between bins of what is true, in which the intervals' coverage is distinguished."""


@dataclass(frozen=True, slots=True)
class Bin:
    """How many intervals hold the reference, where that lies in a range.

    Attributes:
        low: of the range.
        high: likewise.
        num: prefixes or episodes there that have an interval.
        covered: share of them; None where there is none.

    """

    low: float
    high: float
    num: int
    covered: float | None


@dataclass(frozen=True, slots=True)
class EstimatorError:
    """One estimator against a reference.

    Attributes:
        name: of the estimator.
        progress: squared error of progress, mean over episodes.
        values: squared error of J, mean over prefixes.
        idle: mean |progress| of the episodes whose progress is below the waste threshold by the reference.
        covered_progress: share of the episodes whose 95 % interval holds the reference; not known without intervals.
        covered_values: likewise, of the prefixes.
        progress_bins: the same by what progress is by the reference.
        value_bins: likewise.
        answer_tokens: tokens of sampled answers, per trace.

    """

    name: str
    progress: Estimate
    values: Estimate
    idle: Estimate
    covered_progress: Estimate
    covered_values: Estimate
    progress_bins: tuple[Bin, ...]
    value_bins: tuple[Bin, ...]
    answer_tokens: float


@dataclass(frozen=True, slots=True)
class Estimates:
    """What an estimator says of each trace.

    Attributes:
        name: of the estimator.
        value_TP: for each trace, J of its prefixes.
        value_range_TP2: lower and upper ends of their intervals, NaN where there is none.
        progress_range_TK2: likewise, of the episodes.
        answer_tokens: tokens of sampled answers, per trace.

    """

    name: str
    value_TP: Sequence[Floats]
    value_range_TP2: Sequence[Floats]
    progress_range_TK2: Sequence[Floats]
    answer_tokens: float


def raw_estimates(scores: Scores) -> Estimates:
    """The values themselves; lower bounds have no interval."""
    scored = [trace.scored for trace in scores.traces]
    return Estimates(
        scores.name,
        [trace.values for trace in scores.traces],
        [_ranges([_ends(value, value) for value in each.values]) for each in scored],
        [
            _ranges([_ends(episode, *both) for episode, both in zip(each.episodes, pairwise(each.values), strict=True)])
            for each in scored
        ],
        _answer_tokens(scores.traces),
    )


def posterior_estimates(scores: Scores) -> Estimates | None:
    """The posterior along each trace instead of its values; None where not every trace has one."""
    found = [trace.scored.posterior for trace in scores.traces]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    return Estimates(
        f"{scores.name}, posterior",
        [np.array(each.means) for each in known],
        [_ranges(each.intervals) for each in known],
        [_ranges(each.progress_intervals) for each in known],
        _answer_tokens(scores.traces),
    )


def fitted_prior(scores: Scores) -> PathPrior | None:
    """The prior that fits these traces best, for the options of others; None where no trace has a posterior."""
    found = [trace.scored.values for trace in scores.traces if trace.scored.posterior is not None]
    return fit_prior(found) if found else None


def compare(
    estimates: Estimates, reference: Scores, *, threshold: float = WasteOptions().waste_threshold, seed: int = 0
) -> EstimatorError:
    """Measure one estimator.

    Args:
        estimates: of the reference's traces, in its order (`provers.common_traces`).
        reference: what counts as the truth.
        threshold: an episode whose progress is smaller, by the reference, counts as idle.
        seed: of the resamples; the same one makes estimators comparable.

    """
    problems = indices_by_problem(reference.traces)
    count_RN = resample_counts(len(problems), seed=seed)
    truth_TP = [trace.values for trace in reference.traces]
    progress_TK = [np.diff(value_P) for value_P in truth_TP]
    found_TK = [np.diff(value_P) for value_P in estimates.value_TP]
    held_TK, held_TP = (
        [_covered(range_E2, true_E) for range_E2, true_E in zip(ranges, truths, strict=True)]
        for ranges, truths in (
            (estimates.progress_range_TK2, progress_TK),
            (estimates.value_range_TP2, truth_TP),
        )
    )
    idle_TK = [np.abs(progress_K) < threshold for progress_K in progress_TK]

    def mean(of_trace: Callable[[int], Floats]) -> Estimate:
        """Mean over all entries that are known, with an interval over problems."""
        sum_N2 = np.array([_sum_and_number([of_trace(index) for index in indices]) for indices in problems])
        value, sample_R = ratio_of_sums(sum_N2, count_RN)
        known = int((sum_N2[:, 1] > 0).sum())
        return estimate(value, sample_R, problems=known, traces=len(reference.traces))

    return EstimatorError(
        estimates.name,
        progress=mean(lambda t: (found_TK[t] - progress_TK[t]) ** 2),
        values=mean(lambda t: (estimates.value_TP[t] - truth_TP[t]) ** 2),
        idle=mean(lambda t: np.abs(found_TK[t])[idle_TK[t]]),
        covered_progress=mean(lambda t: held_TK[t]),
        covered_values=mean(lambda t: held_TP[t]),
        progress_bins=_bins(held_TK, progress_TK, (-1.0, *PROGRESS_BINS, 1.0)),
        value_bins=_bins(held_TP, truth_TP, (0.0, *VALUE_BINS, 1.0)),
        answer_tokens=estimates.answer_tokens,
    )


def _sum_and_number(parts: Sequence[Floats]) -> tuple[float, float]:
    entry_E = np.concatenate(parts)
    known_E = entry_E[np.isfinite(entry_E)]
    return float(known_E.sum()), float(known_E.size)


_ROUNDING = 1e-9


def _covered(range_E2: Floats, truth_E: Floats) -> Floats:
    """Whether each range holds the truth, NaN where there is no range."""
    inside_E = (range_E2[:, 0] - _ROUNDING <= truth_E) & (truth_E <= range_E2[:, 1] + _ROUNDING)
    return np.where(np.isnan(range_E2).any(axis=1), np.nan, inside_E)


def _bins(held: Sequence[Floats], truth: Sequence[Floats], bounds: Sequence[float]) -> tuple[Bin, ...]:
    held_E, truth_E = np.concatenate(held), np.concatenate(truth)
    bin_E = np.digitize(truth_E, bounds[1:-1])
    found: list[Bin] = []
    for index, (low, high) in enumerate(pairwise(bounds)):
        known_E = held_E[(bin_E == index) & np.isfinite(held_E)]
        found.append(Bin(low, high, known_E.size, float(known_E.mean()) if known_E.size else None))
    return tuple(found)


def _ends(known: Value | Episode, *values: Value) -> tuple[float | None, float | None]:
    """Of the interval of what these values are behind."""
    return (None, None) if any(value.bound for value in values) else (known.low, known.high)


def _ranges(ends: Sequence[tuple[float | None, float | None]]) -> Floats:
    return nan_array(end for both in ends for end in both).reshape(-1, 2)


def _answer_tokens(traces: Sequence[Result]) -> float:
    def drawn(value: Value) -> float:
        if value.correct is None:
            return 0.0
        num = value.correct + (value.incorrect or 0) + (value.unparsed or 0) + (value.ungraded or 0)
        return num * (value.answer_tokens or 0.0)

    return float(np.mean([sum(drawn(value) for value in trace.scored.values) for trace in traces]))
