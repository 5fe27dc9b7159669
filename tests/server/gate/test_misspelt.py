"""The nearest name that may stand where an unknown one stood."""

from __future__ import annotations

import pytest

from mrt_reward.server.gate.misspelt import MAX_NAME_CHARS, meant
from mrt_reward.wire.routes import AdvantagesRequest, ScoreRequest


@pytest.mark.parametrize(
    ("record", "path", "near"),
    [
        (ScoreRequest, ("optoins",), "options"),
        (ScoreRequest, ("options", "segmentor"), "segmenter"),
        (ScoreRequest, ("options", "segmenter", "balanced", "max_episods"), "max_episodes"),
        (ScoreRequest, ("options", "terminator", "Terminator", "forcd"), "forced"),
        (ScoreRequest, ("options", "estimator", "rollouts", "num_sample"), "num_samples"),
        (AdvantagesRequest, ("credit", "alpa"), "alpha"),
        (AdvantagesRequest, ("groups", 0, "trces"), "traces"),
    ],
)
def test_the_nearest_name_of_the_record_is_given(record: object, path: tuple[str | int, ...], near: str) -> None:
    assert meant(record, path) == f"; did you mean {near!r}?"


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (ScoreRequest, ("options", "zzz")),
        (ScoreRequest, ("options", "segmenter", "explicit", "max_episods")),
        (ScoreRequest, ("nowhere", 3, "options")),
        (ScoreRequest, ("options", "segmenter" + "x" * MAX_NAME_CHARS)),
        (None, ("options",)),
    ],
)
def test_where_no_name_is_near_there_is_nothing_to_say(record: object, path: tuple[str | int, ...]) -> None:
    assert meant(record, path) == ""
