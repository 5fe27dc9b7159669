from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mrt_reward.core.posterior import posterior
from mrt_reward.core.values import likelihood_value, rollout_value
from mrt_reward.evaluation.estimators import compare, fitted_prior, posterior_estimates, raw_estimates
from mrt_reward.evaluation.provers import Scores
from mrt_reward.evaluation.result import Result
from mrt_reward.options import PathPrior
from mrt_reward.types import Value, Verdict
from tests.evaluation.datasets.made import scored

RIGHT, WRONG = Verdict.CORRECT, Verdict.INCORRECT
TEXTS = ["Wait, one.\n\n", "Wait, two.\n\n"]


def scores(name: str, *traces: Sequence[float | Value]) -> Scores:
    return Scores(name, [scored(str(i), TEXTS, values, problem=f"Q{i}") for i, values in enumerate(traces)])


def rate(correct: int, graded: int = 4, tokens: float = 3.0) -> Value:
    value = rollout_value([RIGHT] * correct + [WRONG] * (graded - correct))
    return replace(value, answer_tokens=tokens)


TRUTH = scores("truth", [0.25, 0.25, 0.75], [0.5, 1.0, 1.0])


def test_errors_are_means_over_episodes_and_prefixes() -> None:
    found = compare(raw_estimates(scores("k", [rate(1), rate(2), rate(3)], [rate(2), rate(4), rate(4)])), TRUTH)
    # Progress 1/4, 1/4 for 0, 1/2, and right in the second trace: (1/16 + 1/16) / 4. Values: (1/4)² of six.
    assert found.progress.value == pytest.approx(1 / 32)
    assert found.values.value == pytest.approx(1 / 96)
    # Two episodes are idle by the reference; one of them was paid 1/4.
    assert found.idle.value == pytest.approx(1 / 8)
    assert found.answer_tokens == 3 * 4 * 3.0
    assert found.covered_values.value == found.covered_progress.value == 1.0
    assert (found.progress.problems, found.progress.traces) == (2, 2)


def test_an_estimator_is_right_about_itself_and_one_that_draws_nothing_spends_nothing() -> None:
    found = compare(raw_estimates(TRUTH), TRUTH)
    assert (found.progress.value, found.values.value, found.idle.value, found.answer_tokens) == (0, 0, 0, 0)
    assert found.covered_progress.value == 1.0


def test_a_lower_bound_has_no_interval_to_be_covered_by() -> None:
    bound = [likelihood_value([math.log(0.25)])] * 3
    found = compare(raw_estimates(scores("likelihood", bound, bound)), TRUTH)
    assert (found.covered_values.value, found.covered_progress.value) == (None, None)


def test_intervals_that_miss_the_reference_do_not_cover_it() -> None:
    sure = [rollout_value([RIGHT] * 400)] * 3
    found = compare(raw_estimates(scores("k", sure, sure)), TRUTH)
    # Only the two ones of the second trace; and only progress that is 0 by the reference.
    assert found.covered_values.value == pytest.approx(2 / 6)
    assert found.covered_progress.value == pytest.approx(2 / 4)


def test_coverage_is_distinguished_by_what_is_true() -> None:
    sure = [rollout_value([RIGHT] * 400)] * 3
    found = compare(raw_estimates(scores("k", sure, sure)), TRUTH)
    # The truth is 0.25 twice, 0.5, 0.75 and 1 twice; of progress 0 twice and 0.5 twice. Only ones and zeros are held.
    values = [(each.low, each.high, each.num, each.covered) for each in found.value_bins]
    assert values == [(0, 0.2, 0, None), (0.2, 0.4, 2, 0), (0.4, 0.6, 1, 0), (0.6, 0.8, 1, 0), (0.8, 1, 2, 1)]
    progress = {(each.low, each.high): (each.num, each.covered) for each in found.progress_bins if each.num}
    assert progress == {(-0.02, 0.02): (2, 1), (0.5, 1): (2, 0)}


def test_the_posterior_is_that_of_the_scores_and_is_not_had_of_others() -> None:
    raw = scores("k", [rate(1), rate(2), rate(3)], [rate(2), rate(4), rate(4)])
    assert posterior_estimates(raw) is None
    smooth = Scores("k", [with_posterior(trace) for trace in raw.traces])
    found = posterior_estimates(smooth)
    assert found is not None
    assert found.name == "k, posterior"
    raw_K, smooth_K = (np.diff(each.value_TP[0]) for each in (raw_estimates(raw), found))
    assert np.abs(smooth_K).sum() < np.abs(raw_K).sum()
    against = compare(found, TRUTH)
    assert against.answer_tokens == 36.0
    assert against.covered_progress.value == against.covered_values.value == 1.0
    assert posterior_estimates(Scores("k", [*smooth.traces, TRUTH.traces[0]])) is None


def test_a_prior_is_fitted_to_what_has_a_posterior() -> None:
    raw = scores("k", *[[rate(0), rate(0), rate(4)]] * 3)
    assert fitted_prior(raw) is None
    found = fitted_prior(Scores("k", [with_posterior(trace) for trace in raw.traces]))
    assert found is not None
    # All answers are alike at each prefix, so J is near 0 or 1.
    assert found.a < 0.5
    assert found.b < 0.5


def with_posterior(trace: Result) -> Result:
    found = posterior(trace.scored.values, PathPrior(change=0.3))
    return replace(trace, rescored=replace(trace.scored, posterior=found))
