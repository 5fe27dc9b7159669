"""Scoring and paying in this process, with the bundled model."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from mrt_reward.api import advantages, score
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.mini.island import sample_problems
from mrt_reward.mini.writer import BASE_SLOPPINESS, write_thinking
from mrt_reward.types import ScoredTrace, Status, Trace, Value


def test_traces_are_scored_here_and_what_they_earned_is_paid() -> None:
    [problem] = sample_problems(1, seed=3)
    thinking = write_thinking(problem, BASE_SLOPPINESS, np.random.default_rng(3)).text
    completion = f"<think>\n{thinking}</think>\n\n\\boxed{{{problem.answer}}}"
    record = Trace("record", problem=problem.text, completion=completion, answer=(str(problem.answer),))
    fields = {"id": "fields", "problem": problem.text, "completion": "It is late.", "answer": problem.answer}
    right, idle = score([record, fields], grader_workers=1)
    assert (right.id, right.status, right.outcome) == ("record", Status.OK, 1.0)
    assert (idle.id, idle.status, idle.outcome) == ("fields", Status.OK, 0.0)
    paid, _ = advantages([right, idle])
    earned = [episode.progress for episode in right.episodes]
    assert (paid.episode_advantage_K - (paid.outcome_advantage or 0)).tolist() == pytest.approx(earned)


def test_ids_are_labels_that_may_repeat() -> None:
    trace = {"id": "a", "problem": "q", "completion": "It is late."}
    right, wrong = score([{**trace, "outcome": 1.0}, {**trace, "outcome": 0.0}], grader_workers=1)
    assert (right.id, right.outcome, wrong.id, wrong.outcome) == ("a", 1.0, "a", 0.0)


def test_a_mapping_without_an_id_gets_its_index() -> None:
    trace = {"problem": "q", "completion": "It is late.", "outcome": 0.0}
    assert [each.id for each in score([trace, {**trace, "id": "mine"}, trace])] == ["0", "mine", "2"]
    with pytest.raises(TraceError, match=r"traces\.0: expected a trace or a mapping with its fields, got str"):
        score(cast("Any", ["It is late."]))


def test_a_trace_without_values_is_paid_its_outcome_alone() -> None:
    group = [
        ScoredTrace("a", Status.OK, outcome=1.0, values=(Value(0.25), Value(0.75))),
        ScoredTrace("b", Status.ERROR, outcome=0.0),
    ]
    first, second = advantages(group, CreditConfig(alpha=2.0, scale_by_std=False))
    # Outcomes 1 and 0: ± 1/2. One episode earned 1/2, twice.
    assert first.episode_advantage_K.tolist() == pytest.approx([0.5 + 1.0])
    assert (second.outcome_advantage, second.episode_advantage_K.size) == (-0.5, 0)


def test_a_wrong_setting_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="modle"):
        score([], modle="x")


OPTIONS: list[tuple[object, str]] = [
    ({"estimator": {"kind": "rolouts"}}, "options.estimator.kind: expected one of .*; did you mean 'rollouts'"),
    ({"segmenter": "mrt-aim"}, "options.segmenter: expected one of .*mrt-aime.*, got 'mrt-aim'"),
    ({"segmenter": {"kind": "mrt-aime"}}, 'options.segmenter: .* give "mrt-aime" itself'),
    ({"estimator": {"kind": "rollouts", "num_samples": True}}, "num_samples: expected no boolean"),
    ([1], "options: expected an object, got"),
    ({"grader": "mth"}, "unknown grader 'mth': expected one of math; did you mean 'math'"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_a_wrong_option_is_refused_before_a_model_is_looked_for(options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        score([], options=options, model="/there/is/no/such/model")


def test_a_trace_that_breaks_its_schema_is_refused_before_a_model_is_looked_for() -> None:
    trace = {"id": "a", "problem": "q", "completion": "c"}
    with pytest.raises(
        TraceError, match=r"^traces\.1: num_samples: this is an option of scoring, .* options\.estimator\.num"
    ):
        score([trace, {**trace, "num_samples": 4}], model="/there/is/no/such/model")


def test_options_are_a_mapping_too_as_on_the_wire() -> None:
    [problem] = sample_problems(1, seed=3)
    trace = {"id": "a", "problem": problem.text, "completion": "<think>\nWait.\n</think>\n\n7", "answer": "7"}
    rollouts = {"kind": "rollouts", "num_samples": 2}
    [scored] = score([trace], options={"estimator": rollouts, "segmenter": "mrt-aime"}, grader_workers=1)
    assert [sum([each.correct or 0, each.incorrect or 0, each.unparsed or 0]) for each in scored.values] == [2, 2]
