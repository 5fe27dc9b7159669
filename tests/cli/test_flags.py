from __future__ import annotations

import json
from pathlib import Path

import pytest

from mrt_reward.cli.flags import graders_from, options_from
from mrt_reward.errors import ConfigError
from mrt_reward.options import AUTHORS_SEGMENTERS, Rollouts, ScoreOptions, TokenSegmenter

DEFAULT = ScoreOptions(estimator=Rollouts("rollouts", num_samples=3), grader="exact")


def test_options_that_are_not_told_stay_as_they_are(tmp_path: Path) -> None:
    assert options_from(None, DEFAULT) == DEFAULT
    told = {"segmenter": {"kind": "tokens", "num_tokens": 7}}
    expected = ScoreOptions(
        segmenter=TokenSegmenter("tokens", num_tokens=7), estimator=DEFAULT.estimator, grader="exact"
    )
    assert options_from(json.dumps(told), DEFAULT) == expected
    file = tmp_path / "options.json"
    file.write_text(json.dumps(told))
    assert options_from(f"@{file}", DEFAULT) == expected
    name, segmenter = next(iter(AUTHORS_SEGMENTERS.items()))
    named = options_from(name, DEFAULT)
    assert (named.segmenter, named.estimator) == (segmenter, DEFAULT.estimator)


@pytest.mark.parametrize("text", ["{", "[1]", '{"segmentr": 1}', "@nowhere.json"])
def test_options_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected JSON, @FILE, or one of"):
        options_from(text, DEFAULT)


def test_graders_are_named_in_order_and_a_specification_is_its_own_name() -> None:
    assert graders_from(None) is None
    words = ["exact", "loose=math", "mine=score:rewards:f", "http://127.0.0.1:9/score?a=1"]
    assert list((graders_from(words) or {}).items()) == [
        ("exact", "exact"), ("loose", "math"), ("mine", "score:rewards:f"), (words[3], words[3]),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="'math' twice"):
        graders_from(["math", "math=exact"])
