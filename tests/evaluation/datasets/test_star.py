from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.core.values import rollout_value
from mrt_reward.evaluation.datasets.star import (
    Fate,
    StarSettings,
    chat_row,
    judge,
    regret_tokens,
    response,
    text_row,
    top_prefix,
)
from mrt_reward.evaluation.datasets.star_report import report_record, star_report
from mrt_reward.evaluation.pool import Unusable
from mrt_reward.evaluation.result import Result
from mrt_reward.options import Delimiters
from mrt_reward.types import Message, Verdict
from tests.evaluation.datasets.made import ENDING, scored

A, B, C = "First.\n\n", "Wait, second.\n\n", "Wait, third.\n\n"


def fates(*traces: Result, **settings: object) -> list[tuple[Fate, int]]:
    return [(each.fate, each.cut) for each in judge(traces, StarSettings(**settings))]  # type: ignore[arg-type]


def test_a_trace_is_done_at_the_earliest_prefix_that_no_later_one_beats() -> None:
    # J = 0.2, 0.5, 0.99, 1.0, 1.0: z[:2] is within 0.02 of the top; with no tolerance it takes z[:3].
    value_P = np.array([0.2, 0.5, 0.99, 1.0, 1.0])
    assert top_prefix(value_P, value_P) == 2
    assert top_prefix(value_P, value_P, tolerance=0.0) == 3
    # A trace that is worth most before it thinks keeps the episodes that it must.
    falling = np.array([0.9, 0.5, 0.1])
    assert [top_prefix(falling, falling, min_episodes=least) for least in (0, 1, 2, 9)] == [0, 1, 2, 2]


def test_sampled_values_are_the_same_where_intervals_say_so() -> None:
    # Of 8 answers 4, 7, 8 right: 7 of 8 reaches up to 0.98 (Beta(7.5, 1.5)), 4 of 8 only to 0.81.
    verdicts = [[Verdict.CORRECT] * right + [Verdict.INCORRECT] * (8 - right) for right in (4, 7, 8)]
    values = [rollout_value(each) for each in verdicts]
    value_P = np.array([each.value for each in values], np.float64)
    high_P = np.array([each.high for each in values], np.float64)
    assert top_prefix(value_P, high_P, min_episodes=0) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 9))
def test_what_follows_the_cut_gains_less_than_the_tolerance(values: list[float], tolerance: float, least: int) -> None:
    value_P = np.array(values)
    cut = top_prefix(value_P, value_P, tolerance=tolerance, min_episodes=least)
    assert min(least, len(values) - 1) <= cut < len(values)
    assert value_P[cut:].max() - value_P[cut] <= tolerance


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"one shape \(P,\)"):
        top_prefix(np.zeros(2), np.zeros(3))


def test_regret_in_tokens_is_less_for_the_trace_that_is_right_sooner() -> None:
    # J = 0.25 over 10 tokens, then 0.75 over 4: 0.75·10 + 0.25·4 = 8.5.
    assert regret_tokens(np.array([0.25, 0.75, 1.0]), np.array([0.0, 10.0, 14.0]), 2) == pytest.approx(8.5)
    assert regret_tokens(np.array([0.25, 0.75, 1.0]), np.array([0.0, 10.0, 14.0]), 0) == 0.0


def test_of_a_problem_the_trace_with_most_progress_and_least_regret_is_kept_and_cut() -> None:
    slow = scored("slow", [A, B, C], [0.2, 0.2, 1.0, 1.0])
    quick = scored("quick", [A, B, C], [0.2, 1.0, 1.0, 1.0])
    little = scored("little", [A, B], [0.2, 0.6, 0.7])
    wrong = scored("wrong", [A, B], [0.2, 0.2, 0.3], outcome=0.0)
    gap = scored("gap", [A, B], [0.2, None, 0.9])
    other = scored("other", [A], [0.5, 0.9], problem="2 + 40?")
    assert fates(slow, quick, little, wrong, gap, other) == [
        (Fate.SURPLUS, 2),
        (Fate.CUT, 1),
        (Fate.LESS_PROGRESS, 2),
        (Fate.FORCED_WRONG, 2),
        (Fate.PARTIAL, 2),
        (Fate.WHOLE, 1),
    ]
    assert fates(slow, quick, per_problem=2)[0] == (Fate.CUT, 2)
    assert fates(slow, truncate=False) == [(Fate.WHOLE, 3)]


def test_outcome_is_plain_star_in_the_order_of_the_file() -> None:
    first = scored("first", [A, B, C], [0.2, None, 0.2, 0.2])
    second = scored("second", [A], [0.2, 1.0])
    wrong = scored("wrong", [A], [0.2, 1.0], outcome=0.0)
    unknown = scored("unknown", [A], [0.2, 1.0], outcome=None)
    got = fates(wrong, unknown, first, second, select="outcome")
    assert got == [(Fate.WRONG, 1), (Fate.WRONG, 1), (Fate.WHOLE, 3), (Fate.SURPLUS, 1)]


def test_a_kept_trace_ends_in_its_own_right_answer_or_in_the_boxed_gold_one() -> None:
    settings = StarSettings()
    [right] = judge([scored("r", [A, B], [0.2, 1.0, 1.0])], settings)
    assert response(right, settings) == f"<think>\n{A}{ENDING}"
    assert (
        response(right, StarSettings(answer="forced")) == f"<think>\n{A}</think>\n\nThe final answer is \\boxed{{42}}"
    )
    strayed = scored("s", [A, B], [0.2, 1.0, 0.3], outcome=0.0, ending="</think>\n\n\\boxed{7}")
    [lost] = judge([strayed], settings)
    assert (lost.fate, lost.cut) == (Fate.CUT, 1)
    assert response(lost, settings) == f"<think>\n{A}{ENDING}"
    # Thinking that was never closed ends in a line break before the delimiter.
    [cut_off] = judge([scored("c", [A, "Wait, th"], [0.2, 1.0, 1.0], outcome=0.0, ending="")], settings)
    assert response(cut_off, settings) == "<think>\nFirst.\n</think>\n\nThe final answer is \\boxed{42}"
    nameless = scored("n", [A], [0.2, 1.0], outcome=0.0, answer=())
    assert fates(nameless) == [(Fate.NO_ANSWER, 1)]


def test_whole_traces_are_written_as_they_were() -> None:
    settings = StarSettings(select="outcome")
    opened = scored("o", [A, B], [0.2, 0.5, 1.0], opener="<think>\n")
    [kept] = judge([opened], settings)
    assert response(kept, settings) == opened.completion
    # A policy whose template opens thinking without a line break writes it itself, and only once.
    own_break = scored("b", ["\n" + A], [0.2, 1.0])
    [kept] = judge([own_break], settings)
    assert response(kept, settings) == f"<think>\n{A}{ENDING}"


def test_rows_are_chats_or_prompt_and_completion() -> None:
    settings = StarSettings()
    chat = (Message("system", "Think."), Message("user", "6 times 7?"))
    [kept] = judge([scored("r", [A, B], [0.25, 1.0, 1.0], problem=None, messages=chat, group="g")], settings)
    row = chat_row(kept, settings)
    assert row == {
        "messages": [
            {"role": "system", "content": "Think."},
            {"role": "user", "content": "6 times 7?"},
            {"role": "assistant", "content": f"<think>\n{A}{ENDING}"},
        ],
        "id": "r",
        "group": "g",
        "mrt_episodes": 2,
        "mrt_episodes_kept": 1,
        "mrt_value": 1.0,
        "mrt_progress": 0.75,
        "mrt_answer": "own",
    }
    for opening in ("<think>\n", "<think>"):
        said = text_row(kept, f"user: 6 times 7? {opening}", settings)
        assert f"{said['prompt']}{said['completion']}" == f"user: 6 times 7? <think>\n{A}{ENDING}"


def test_traces_without_tags_stay_without() -> None:
    settings, none = StarSettings(answer="forced"), Delimiters("", "")
    [kept] = judge([scored("r", [A, B], [0.2, 1.0, 1.0], ending="")], settings)
    assert response(kept, settings, none) == f"{A}\n\nThe final answer is \\boxed{{42}}"


def test_the_report_counts_every_trace_once_and_says_what_was_saved() -> None:
    settings = StarSettings()
    judged = judge([scored("a", [A, B], [0.2, 1.0, 1.0]), scored("b", [A], [0.2, 0.1], outcome=0.0)], settings)
    report = star_report(judged, {Unusable.NO_THINKING: 3}, settings)
    assert report.fates == {Fate.CUT.value: 1, Fate.FORCED_WRONG.value: 1, "no thinking": 3}
    assert (report.traces, report.kept, report.problems, report.problems_kept) == (5, 1, 1, 1)
    assert (report.tokens_before, report.tokens_after) == (len(A + B), len(A))
    assert (report.value, report.progress) == (1.0, pytest.approx(0.8))
    record = report_record(report, settings)
    assert record["kept"] == 1
    assert record["settings"] == {**record["settings"], "select": "progress", "min_value": 0.5}  # type: ignore[dict-item]
    nothing = star_report([], {}, settings)
    assert nothing.value is None
    assert nothing.figures()["answers"] == "none"


def test_settings_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="tolerance must be at least 0 and at most 1"):
        StarSettings(tolerance=2)
    with pytest.raises(ValueError, match="per_problem must be at least 1"):
        StarSettings(per_problem=0)
