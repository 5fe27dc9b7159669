"""What differs between a file of scores and what would be added to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from mrt_reward.cli.resuming import Begun, changed_options
from mrt_reward.errors import ConfigError
from mrt_reward.options import Delimiters, Rollouts, ScoreOptions, Terminator
from mrt_reward.types import Message, Trace
from mrt_reward.wire import trace_fields

TRACE = Trace("1", problem="p", completion="c", answer=("42",), metadata={"level": 3})


def written(options: ScoreOptions) -> object:
    return json.loads(TypeAdapter(ScoreOptions).dump_json(options))


def line(trace: Trace, options: ScoreOptions | None = None) -> dict[str, object]:
    fields = {name: value for name, value in trace_fields(trace).items() if name not in ("id", "metadata")}
    return {"id": trace.id, "options": written(options or ScoreOptions()), "trace": json.loads(json.dumps(fields))}


@pytest.mark.parametrize(
    "options",
    [
        ScoreOptions(),
        ScoreOptions(estimator=Rollouts("rollouts", mean_samples=4.5), grader="exact"),
        ScoreOptions(terminator=Terminator("a", "b", "free"), delimiters=Delimiters("", "")),
    ],
)
def test_options_that_were_written_and_read_do_not_differ(options: ScoreOptions) -> None:
    assert list(changed_options(written(options), options)) == []


def test_each_difference_is_named_with_both_values() -> None:
    before = ScoreOptions(estimator=Rollouts("rollouts", num_samples=4, temperature=1.0))
    now = ScoreOptions(estimator=Rollouts("rollouts", num_samples=8, temperature=1.0), terminator="official")
    assert sorted(changed_options(written(before), now)) == [
        "estimator.num_samples: 4, now 8",
        'terminator: "boxed", now "official"',
    ]
    assert list(changed_options(written(before), ScoreOptions())) == ["estimator: rollouts, now likelihood"]


@pytest.mark.parametrize("before", [None, "likelihood", {"estimator": {"kind": "of another version"}}])
def test_options_that_cannot_be_read_are_no_agreement(before: object) -> None:
    [reported] = changed_options(before, ScoreOptions())
    assert "does not say which" in reported


def test_a_trace_is_the_same_or_its_columns_are_named() -> None:
    begun = Begun(Path("out.jsonl"), ScoreOptions(), {"1": TRACE})
    begun.refuse(line(TRACE))
    begun.refuse(line(Trace("of another input", problem="p", completion="c")))
    edited = Trace("1", messages=(Message("user", "p"),), completion="other", answer=("42",))
    with pytest.raises(ConfigError, match="whose completion, messages, problem differ from the input's"):
        begun.refuse(line(edited))


def test_a_prover_is_the_same_in_name_and_version() -> None:
    begun = Begun(Path("out.jsonl"), ScoreOptions(), {})
    begun.refuse_prover((), "a", "1")
    begun.refuse_prover(["a@1"], "a", "1")
    begun.refuse_prover(["a@1", "a@2"], "a", None)
    with pytest.raises(ConfigError, match="was scored by a@1, and the prover is a@2"):
        begun.refuse_prover(["a@2", "a@1"], "a", "2")
