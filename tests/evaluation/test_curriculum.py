from __future__ import annotations

import numpy as np
import pytest

from mrt_reward.evaluation.curriculum import Advice, CurriculumSettings, Difficulty, gain_left, plan_round
from mrt_reward.evaluation.result import Result
from tests.evaluation.datasets.made import scored

TEN = "0123456789"
SETTINGS = CurriculumSettings(granularity=10, answer_tokens=0)


def problem(number: int, values: list[float | None], **more: object) -> Result:
    return scored(f"t{number}", [TEN] * (len(values) - 1), values, problem=f"Q{number}", group=f"g{number}", **more)  # type: ignore[arg-type]


def test_what_any_longer_budget_adds_never_counts_a_fall() -> None:
    assert gain_left(np.array([[0.2, 0.6, 0.5, 0.6]])).tolist() == pytest.approx(np.array([[0.4, 0.0, 0.1, 0.0]]))


def test_the_budget_is_the_smallest_past_which_nothing_pays() -> None:
    # All problems are solved after their second episode of ten tokens.
    traces = [problem(number, [0.2, 0.6, 1.0, 1.0, 1.0]) for number in range(6)]
    schedule = plan_round(traces, SETTINGS)
    assert (schedule.budget, schedule.advice, schedule.truncated) == (20, Advice.SETTLED, 0.0)
    assert [point.tokens for point in schedule.points] == [10, 20, 30, 40]
    assert [point.gain_left.value for point in schedule.points] == pytest.approx([0.4, 0, 0, 0])
    # 10 tokens are enough for somebody to whom 0.4 is nothing.
    assert plan_round(traces, CurriculumSettings(min_gain=0.5, granularity=10, answer_tokens=0)).budget == 10


def test_what_a_few_problems_still_gain_keeps_the_budget_up() -> None:
    # One in six gains 0.8 from the third episode: 0.13 on average, and up to 0.4 in the interval.
    traces = [problem(number, [0.2, 1.0, 1.0, 1.0, 1.0]) for number in range(5)]
    traces.append(problem(5, [0.2, 0.2, 0.2, 1.0, 1.0]))
    assert plan_round(traces, SETTINGS).budget == 30


def test_where_accuracy_rises_to_the_end_the_budget_grows_if_traces_were_cut_off() -> None:
    rising = [problem(number, [0.1, 0.3, 0.6, 0.9], ending="", outcome=0.0) for number in range(6)]
    assert (plan_round(rising, SETTINGS).budget, plan_round(rising, SETTINGS).advice) == (60, Advice.GROW)
    # Beyond the cut each may gain the 0.1 that it lacks, which nobody saw.
    assert plan_round(rising, SETTINGS).hidden == pytest.approx(0.1)
    ended = [problem(number, [0.1, 0.3, 0.6, 0.9]) for number in range(6)]
    assert (plan_round(ended, SETTINGS).budget, plan_round(ended, SETTINGS).advice) == (30, Advice.KEEP)


def test_one_problem_settles_nothing() -> None:
    assert plan_round([problem(0, [0.2, 1.0, 1.0, 1.0])], SETTINGS).advice is Advice.KEEP


def test_problems_are_distinguished_by_how_often_they_are_solved() -> None:
    traces = [
        problem(0, [0.2, 1.0]),
        problem(1, [0.2, 0.1], outcome=0.0),
        problem(2, [0.2, 0.5]),
        problem(2, [0.2, 0.5], outcome=0.0),
        problem(3, [0.2, 0.5], outcome=None),
        problem(4, [0.2, None]),
    ]
    schedule = plan_round(traces, SETTINGS)
    assert {each.value: schedule.of(each) for each in Difficulty} == {
        "solved": ["g0"],
        "hard": ["g1"],
        "learnable": ["g2", "g3"],
    }
    record = schedule.record(SETTINGS, 2)
    assert (record["round"], record["traces_left_out"], record["advice"]) == (2, 1, "keep")
    with pytest.raises(ValueError, match="with all its values"):
        plan_round(traces[-1:], SETTINGS)


def test_settings_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="min_gain must be above 0"):
        CurriculumSettings(min_gain=0)
    with pytest.raises(ValueError, match="low_rate must be below high_rate"):
        CurriculumSettings(low_rate=0.9, high_rate=0.1)
    with pytest.raises(ValueError, match="growth must be at least 1"):
        CurriculumSettings(growth=0.5)
