from __future__ import annotations

import pytest

from mrt_reward.evaluation.datasets.pairs import PairSettings, pair_row, step_pairs, summary
from mrt_reward.evaluation.datasets.prompts import AS_IT_IS
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.states import EpisodeAt
from tests.evaluation.datasets.made import scored, value

A, B, C, D = "First.\n\n", "Wait, good.\n\n", "Wait, bad.\n\n", "Wait, worse.\n\n"
SETTINGS = PairSettings()


def wrong(name: str, thoughts: list[str], values: list[object], **more: object) -> Result:
    return scored(name, thoughts, values, outcome=0.0, **more)  # type: ignore[arg-type]


def test_a_wrong_traces_step_is_set_against_the_best_from_the_same_prefix() -> None:
    good = scored("good", [A, B], [0.2, 0.5, 0.9])
    middling = scored("middling", [A, D], [0.2, 0.5, 0.75])
    bad = wrong("bad", [A, C], [0.2, 0.5, 0.3], group="g")
    traces = [good, middling, bad]
    [pair], report = step_pairs(traces, SETTINGS)
    assert (pair.chosen.trace.trace.id, pair.rejected.index) == ("good", 1)
    row = pair_row(pair, "Q <think>\n", chats=False)
    assert row == {
        "prompt": f"Q <think>\n{A}",
        "chosen": B,
        "rejected": C,
        "id": "bad",
        "group": "g",
        "mrt_episode": 1,
        "mrt_margin": pytest.approx(0.6),
        "mrt_margin_stderr": 0.0,
        "mrt_chosen_value": 0.9,
        "mrt_chosen_low": 0.9,
        "mrt_chosen_high": 0.9,
        "mrt_rejected_value": 0.3,
        "mrt_rejected_low": 0.3,
        "mrt_rejected_high": 0.3,
    }
    # As chats under a template that adds nothing, so that no trainer ends the policy's turn after a step.
    chats = pair_row(pair, "Q <think>\n")
    assert chats == {
        **row,
        "prompt": [{"role": "user", "content": f"Q <think>\n{A}"}],
        "chosen": [{"role": "assistant", "content": B}],
        "rejected": [{"role": "assistant", "content": C}],
        "chat_template_kwargs": {"chat_template": AS_IT_IS},
    }
    # The first step is the same in all traces: there is nothing else to compare it with.
    assert (report.wrong, report.paired, report.steps, report.alone, report.pits) == (1, 1, 2, 1, [])
    stats = summary([pair], report, {})
    assert (stats["pairs"], stats["by_episode"]) == (1, {"1": 1})


def test_overlapping_intervals_and_narrow_margins_make_no_pair() -> None:
    # 0.9 ± 0.35 reaches down to 0.55, and 0.3 ± 0.35 up to 0.65.
    loud = [scored("g", [B], [0.2, value(0.9, 0.35)]), wrong("b", [C], [0.2, value(0.3, 0.35)])]
    pairs, report = step_pairs(loud, SETTINGS)
    assert (pairs, report.unclear) == ([], 1)
    sure = [scored("g", [B], [0.2, value(0.9, 0.25)]), wrong("b", [C], [0.2, value(0.3, 0.25)])]
    [pair], _ = step_pairs(sure, SETTINGS)
    # Each standard error is half of the half-width: √2 · 0.125.
    assert pair.stderr == pytest.approx(0.1768, abs=1e-4)
    near = [scored("g", [B], [0.2, 0.45]), wrong("b", [C], [0.2, 0.3])]
    assert step_pairs(near, SETTINGS)[0] == []


def test_other_problems_and_right_or_unknown_traces_give_no_rejected_steps() -> None:
    traces = [
        scored("elsewhere", [B], [0.2, 0.9], problem="another"),
        scored("right", [B], [0.2, 0.9]),
        scored("low but right", [C], [0.2, 0.1]),
        scored("unknown", [C], [0.2, 0.1], outcome=None),
    ]
    pairs, report = step_pairs(traces, SETTINGS)
    assert (pairs, report.wrong, report.unknown) == ([], 0, 1)


def test_a_step_that_was_cut_off_is_neither_chosen_nor_rejected() -> None:
    traces = [scored("g", [B], [0.2, 0.9], ending=""), wrong("b", [C], [0.2, 0.1], ending="")]
    pairs, report = step_pairs(traces, SETTINGS)
    assert (pairs, report.steps, report.pits) == ([], 0, [])


def test_of_one_trace_the_widest_margins_count_and_equal_steps_count_once() -> None:
    good = scored("good", [A, B, B], [0.2, 0.9, 0.9, 1.0])
    bad = wrong("bad", [C, D], [0.2, 0.5, 0.1])
    same = wrong("same", [C, A], [0.2, 0.5, 0.4])
    better = scored("better", [C, B], [0.2, 0.5, 0.8])
    traces = [good, bad, same, better]
    pairs, report = step_pairs(traces, SETTINGS)
    assert [(pair.rejected.trace.trace.id, pair.rejected.index) for pair in pairs] == [
        ("bad", 1),
        ("bad", 0),
        ("same", 1),
    ]
    assert report.paired == 2
    [widest], _ = step_pairs(traces[:2] + traces[3:], PairSettings(per_trace=1))
    assert widest.margin == pytest.approx(0.7)


def test_where_nothing_shares_the_prefix_the_worst_step_is_named_and_sampled_ones_fill_in() -> None:
    bad = wrong("bad", [A, C, D], [0.2, 0.5, 0.3, 0.2])
    pairs, report = step_pairs([bad], SETTINGS)
    assert (pairs, [(pit.trace.trace.id, pit.index) for pit in report.pits]) == ([], [("bad", 1)])
    # A sampled step ends with its trace, whose outcome says nothing.
    branch = scored("bad~1.0", [A, B], [0.2, 0.5, 0.95], outcome=0.0, ending="")
    [pair], report = step_pairs([bad], SETTINGS, [EpisodeAt(branch, 1)])
    assert (pair.chosen.text, pair.rejected.text, report.pits) == (B, C, [])


def test_settings_outside_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="min_margin must be above 0"):
        PairSettings(min_margin=0)
