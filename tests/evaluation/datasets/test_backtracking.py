from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.evaluation.datasets.backtracking import (
    BacktrackSettings,
    backtrack_row,
    backtrack_target,
    backtracks_from,
    sampled_backtracks,
)
from mrt_reward.evaluation.datasets.branching import Continuation, Point
from mrt_reward.types import Verdict
from tests.evaluation.datasets.made import scored

SETTINGS = BacktrackSettings()
ONE, TWO, SLIP, LAST = "1. Six.\n\n", "2. Times seven.\n\n", "2. Plus seven.\n\n", "3. So \\boxed{13}."


@pytest.mark.parametrize(
    ("values", "target"),
    [
        ([0.3, 0.6, 0.1], 1),  # it fell after its first step
        ([0.3, 0.6, 0.6, 0.1], 2),  # of equals the deepest, so that least is done again
        ([0.3, np.nan, 0.1], 0),  # what is missing is never gone back to
        ([0.3, 0.6, 0.9], None),  # it never fell
        ([0.2, 0.2, 0.0], None),  # nowhere was it high
        ([0.3, 0.6, np.nan], None),  # where it ended is not known
        ([0.5], None),
        ([np.nan, 0.1], None),
    ],
)
def test_the_step_to_go_back_to_is_the_deepest_before_the_fall(values: list[float], target: int | None) -> None:
    assert backtrack_target(np.array(values), SETTINGS) == target


def test_a_wrong_attempt_goes_back_and_a_right_one_takes_over_and_only_that_is_trained() -> None:
    wrong = scored("w", [ONE, SLIP, LAST], [0.4, 0.7, 0.2, 0.0], outcome=0.0, ending="", group="g")
    long = scored("long", [ONE, TWO, "3. Slowly \\boxed{42}."], [0.4, 0.7, 0.9, 1.0], ending="")
    right = scored("right", [ONE, TWO, "3. \\boxed{42}."], [0.4, 0.7, 0.9, 1.0], ending="")
    rows, left = backtracks_from([wrong, long, right], SETTINGS)
    assert left == []
    assert [backtrack_row(row, "Q: ", SETTINGS) for row in rows] == [
        {
            "prompt": f"Q: {ONE}{SLIP}{LAST}\n\n",
            "completion": f"This seems off. Let's backtrack to step 1.\n\n{TWO}3. \\boxed{{42}}.",
            "id": "w",
            "group": "g",
            "mrt_step": 1,
            "mrt_value": 0.7,
            "mrt_fall": pytest.approx(0.7),
            "mrt_source": "right",
        }
    ]


def test_attempts_that_no_right_one_begins_like_are_handed_back() -> None:
    wrong = scored("w", [ONE, SLIP], [0.4, 0.7, 0.0], outcome=0.0, ending="")
    unknown = scored("u", [ONE, SLIP], [0.4, 0.7, 0.0], outcome=None, ending="")
    elsewhere = scored("e", [ONE, TWO], [0.4, 0.7, 1.0], problem="another", ending="")
    assert backtracks_from([wrong, unknown, elsewhere], SETTINGS) == ([], [(wrong, 1)])


def test_of_sampled_continuations_the_shortest_right_one_takes_over() -> None:
    point = Point(scored("w", [ONE, SLIP], [0.4, 0.7, 0.0], outcome=0.0, ending=""), 1)
    said = [("much longer 42", Verdict.CORRECT), ("42", Verdict.CORRECT), ("7", Verdict.INCORRECT)]
    [row] = sampled_backtracks([[Continuation(point, text, verdict) for text, verdict in said], []])
    assert (row.wrong, row.target, row.correction, row.source) == (point.trace, 1, "42", "sampled")


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="min_fall must be at least 0"):
        BacktrackSettings(min_fall=2)
    with pytest.raises(ValueError, match=r"as \{step\}"):
        BacktrackSettings(statement="Back!")
