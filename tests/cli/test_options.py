"""Scoring options from a command line name what is wrong with them, and the nearest right word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrt_reward.cli.options import options_from
from mrt_reward.errors import ConfigError
from mrt_reward.options import AUTHORS_SEGMENTERS, Rollouts, ScoreOptions, TokenSegmenter

DEFAULT = ScoreOptions(estimator=Rollouts("rollouts", num_samples=3), grader="exact")


def test_options_that_are_not_given_stay_as_they_are(tmp_path: Path) -> None:
    assert options_from(None, DEFAULT) == DEFAULT
    reported = {"segmenter": {"kind": "tokens", "num_tokens": 7}}
    expected = ScoreOptions(
        segmenter=TokenSegmenter("tokens", num_tokens=7), estimator=DEFAULT.estimator, grader="exact"
    )
    assert options_from(json.dumps(reported), DEFAULT) == expected
    file = tmp_path / "options.json"
    file.write_text(json.dumps(reported))
    assert options_from(f"@{file}", DEFAULT) == expected
    name, segmenter = next(iter(AUTHORS_SEGMENTERS.items()))
    named = options_from(name, DEFAULT)
    assert (named.segmenter, named.estimator) == (segmenter, DEFAULT.estimator)
    assert options_from(json.dumps({"segmenter": name}), DEFAULT) == named


@pytest.mark.parametrize("text", ["{", "[1]", "@nowhere.json"])
def test_what_is_no_object_of_options_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected JSON, @FILE, or one of"):
        options_from(text, DEFAULT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mrt-aim", "did you mean 'mrt-aime'?"),
        ('{"segmentr": 1}', "--options: segmentr: this field is unknown; did you mean 'segmenter'?"),
        ('{"zzz": 1}', "zzz: this field is unknown: expected one of delimiters, terminator, grader, segmenter, est"),
        (
            '{"estimator": {"kind": "rollout"}}',
            "estimator.kind: expected one of likelihood, rollouts, got 'rollout'; d",
        ),
        ('{"segmenter": {"kind": "marker"}}', "segmenter.kind: expected one of balanced, markers,"),
        ('{"segmenter": {"kind": "marker"}}', "got 'marker'; did you mean 'markers'?"),
        ('{"estimator": {"kind": "rollouts", "num_sample": 3}}', "did you mean 'num_samples'?"),
        (
            '{"segmenter": {"max_episodes": 3}}',
            "segmenter.kind: expected one of balanced, markers, paragraphs, tokens, explicit, got none",
        ),
        ('{"delimiters": {"opn": "<a>"}}', "delimiters.opn: this field is unknown; did you mean 'open'?"),
        (
            '{"estimator": {"kind": "rollouts", "prior": {"chnge": 0.5}}}',
            "estimator.prior.chnge: this field is unknown; did you mean 'change'?",
        ),
        ('{"terminator": {"forced": "a", "natural": "b", "anwer": "free"}}', "did you write 'anwer' for it?"),
        ('{"terminator": "boxd"}', "terminator: expected one of boxed, official, qwen3, got 'boxd'"),
        ('{"terminator": {"answer": "free"}}', "terminator.forced: expected a value, got none"),
        ('{"estimator": "rollouts"}', 'estimator: expected an object with its kind, such as {"kind": "rollouts"}, got'),
        ('{"segmenter": "markers"}', 'such as {"kind": "markers"}, got "markers"'),
        ('{"waste_threshold": 0.1}', "waste_threshold: this field is unknown: expected one of"),
        ('{"estimator": {"kind": "rollouts", "num_samples": 0}}', "expected a value greater than or equal to 1, got 0"),
    ],
)
def test_the_field_the_choices_and_the_nearest_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_from(text, DEFAULT)
    assert message in str(caught.value)
    assert "pydantic" not in str(caught.value)
