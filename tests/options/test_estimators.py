from __future__ import annotations

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from mrt_reward.options import Estimator, EstimatorName, Likelihood, Rollouts, ScoreOptions

OPTIONS = TypeAdapter(ScoreOptions)


def test_the_names_are_the_kinds_of_the_estimators() -> None:
    kinds = [TypeAdapter(record).json_schema()["properties"]["kind"]["const"] for record in get_args(Estimator)]
    assert list(get_args(EstimatorName)) == kinds


@pytest.mark.parametrize("name", get_args(EstimatorName))
def test_an_estimator_is_chosen_by_its_kind_alone(name: str) -> None:
    chosen = OPTIONS.validate_python({"estimator": {"kind": name}}).estimator
    assert chosen == {"likelihood": Likelihood(), "rollouts": Rollouts("rollouts")}[name]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "guess"}, "'likelihood', 'rollouts'"),
        ({"num_samples": 4}, "Unable to extract tag using discriminator 'kind'"),
        ({"kind": "likelihood", "num_samples": 4}, "num_samples"),
        ({"kind": "rollouts", "num_samples": 129}, "less than or equal to 128"),
    ],
)
def test_an_unknown_kind_an_unknown_field_and_a_value_outside_its_range_are_refused(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        OPTIONS.validate_python({"estimator": given})
