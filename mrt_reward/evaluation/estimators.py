"""How far an estimator is from a reference, on the same traces, and what it spent.

The reference is whatever is nearest to the truth: likelihood where that is exact, or many answers a prefix. Its own
sampling noise is counted as error of all that is compared with it, so it should be much the smaller.

Dimension key: N problems · T traces · P prefixes of a trace · K = P - 1 episodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.core.prior_fit import fit_prior
from mrt_reward.core.progress import WasteOptions, nan_array
from mrt_reward.evaluation.bootstrap import Estimate, Floats, estimate, ratio_of_sums, resample_counts
from mrt_reward.evaluation.pool import places_by_problem
from mrt_reward.evaluation.provers import Scores
from mrt_reward.evaluation.result import Result
from mrt_reward.options import PathPrior
from mrt_reward.types import Value


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
        answer_tokens: tokens of sampled answers, per trace.

    """

    name: str
    progress: Estimate
    values: Estimate
    idle: Estimate
    covered_progress: Estimate
    covered_values: Estimate
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
    """The values themselves."""
    scored = [trace.scored for trace in scores.traces]
    return Estimates(
        scores.name,
        [trace.values for trace in scores.traces],
        [_ranges([(value.low, value.high) for value in each.values]) for each in scored],
        [_ranges([(episode.low, episode.high) for episode in each.episodes]) for each in scored],
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
    problems = places_by_problem(reference.traces)
    count_RN = resample_counts(len(problems), seed=seed)
    truth_TP = [trace.values for trace in reference.traces]
    progress_TK = [np.diff(value_P) for value_P in truth_TP]
    found_TK = [np.diff(value_P) for value_P in estimates.value_TP]
    idle_TK = [np.abs(progress_K) < threshold for progress_K in progress_TK]

    def mean(of_trace: Callable[[int], Floats]) -> Estimate:
        """Mean over all entries that are known, with an interval over problems."""
        sum_N2 = np.array([_sum_and_number([of_trace(place) for place in places]) for places in problems])
        value, sample_R = ratio_of_sums(sum_N2, count_RN)
        known = int((sum_N2[:, 1] > 0).sum())
        return estimate(value, sample_R, problems=known, traces=len(reference.traces))

    return EstimatorError(
        estimates.name,
        progress=mean(lambda t: (found_TK[t] - progress_TK[t]) ** 2),
        values=mean(lambda t: (estimates.value_TP[t] - truth_TP[t]) ** 2),
        idle=mean(lambda t: np.abs(found_TK[t])[idle_TK[t]]),
        covered_progress=mean(lambda t: _covered(estimates.progress_range_TK2[t], progress_TK[t])),
        covered_values=mean(lambda t: _covered(estimates.value_range_TP2[t], truth_TP[t])),
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


def _ranges(ends: Sequence[tuple[float | None, float | None]]) -> Floats:
    return nan_array(end for both in ends for end in both).reshape(-1, 2)


def _answer_tokens(traces: Sequence[Result]) -> float:
    def drawn(value: Value) -> float:
        if value.correct is None:
            return 0.0
        num = value.correct + (value.incorrect or 0) + (value.unparsed or 0) + (value.ungraded or 0)
        return num * (value.answer_tokens or 0.0)

    return float(np.mean([sum(drawn(value) for value in trace.scored.values) for trace in traces]))
