"""Values compare where one estimator gave them from answers forced and drawn in one way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.comparable import EstimatorCounts
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.types import ScoredTrace, Status, Value

SCORED = ScoredTrace("1", Status.OK, values=(Value(0.5),))
BOUND = ScoredTrace("1", Status.OK, values=(Value(0.5, bound="lower"),))


def written(options: ScoreOptions) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", json.loads(TypeAdapter(ScoreOptions).dump_json(options)))


def rollouts(**options: Any) -> Mapping[str, Any]:
    return written(ScoreOptions(estimator=Rollouts("rollouts", **options)))


def test_more_answers_and_another_seed_estimate_the_same() -> None:
    ways = EstimatorCounts()
    for options in (rollouts(), rollouts(num_samples=32), rollouts(seed=7, keep_answers=True), None):
        ways.add(SCORED, options)
    ways.refuse_mixed()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (rollouts(temperature=1.0), "temperature 1.0"),
        (rollouts(best_of=4), "best_of 4"),
        (written(ScoreOptions(estimator=Rollouts("rollouts"), terminator="official")), "terminator official"),
        (written(ScoreOptions()), r"rollouts \(1\), likelihood \(1\)"),
    ],
)
def test_what_estimates_something_else_is_refused_by_name(other: Mapping[str, Any], message: str) -> None:
    ways = EstimatorCounts()
    ways.add(SCORED, rollouts())
    ways.add(SCORED, other)
    with pytest.raises(ConfigError, match=message):
        ways.refuse_mixed()


def test_lines_that_do_not_say_how_are_reported_by_their_values() -> None:
    ways = EstimatorCounts()
    ways.add(BOUND, None)
    ways.add(ScoredTrace("failed", Status.ERROR), None)
    ways.refuse_mixed()
    ways.add(SCORED, None)
    with pytest.raises(ConfigError, match=r"lines of likelihood \(1\), rollouts \(1\)"):
        ways.refuse_mixed()
