from __future__ import annotations

import pytest

from mrt_reward.evaluation.audit import Audit, AuditSettings, Sign, audit
from mrt_reward.evaluation.result import Result
from tests.evaluation.datasets.made import scored

WORK = (
    "We walk from here to there and find out what is behind the second door, which takes a good while to do well.\n\n"
)
BARE = "So the answer is 42.\n\n"


def signs_of(*traces: Result, **settings: float) -> list[dict[Sign, float]]:
    return [dict(each.found) for each in audit(traces, AuditSettings(**settings)).traces]  # type: ignore[arg-type]


def test_work_that_rises_is_no_sign() -> None:
    assert signs_of(scored("t", [WORK, WORK.replace("door", "gate")], [0.1, 0.5, 1.0])) == [{}]


def test_a_short_episode_that_names_the_answer_and_rose_is_an_answer_without_work() -> None:
    assert signs_of(scored("t", [WORK, BARE], [0.1, 0.2, 0.9])) == [{Sign.BARE: 1}]
    # It did not rise; it is long; it names something else, neither the gold answer nor the trace's own.
    assert signs_of(scored("t", [WORK, BARE], [0.1, 0.9, 0.95])) == [{}]
    assert signs_of(scored("t", [WORK, WORK + BARE], [0.1, 0.2, 0.9]), repeated=1.0) == [{}]
    assert signs_of(scored("t", [WORK, BARE.replace("42", "7")], [0.1, 0.2, 0.9])) == [{}]
    own = "</think>\n\n\\boxed{7}"
    assert signs_of(scored("t", [WORK, BARE.replace("42", "7")], [0.1, 0.2, 0.9], ending=own)) == [{Sign.BARE: 1}]
    assert signs_of(scored("t", [WORK, BARE], [0.1, 0.2, 0.9]), bare_words=4) == [{}]


def test_an_answer_that_is_all_the_thinking_is_one_without_work_even_if_nothing_rose() -> None:
    assert signs_of(scored("t", [BARE], [0.5, 0.5])) == [{Sign.BARE: 1}]
    assert signs_of(scored("t", [BARE], [0.5, None])) == [{Sign.BARE: 1}]


def test_progress_that_ends_in_a_wrong_answer_is_a_sign() -> None:
    lied, kept = scored("l", [WORK], [0.2, 0.8], outcome=0.0), scored("k", [WORK], [0.2, 0.8])
    unknown, slight = scored("u", [WORK], [0.2, 0.8], outcome=None), scored("s", [WORK], [0.2, 0.6], outcome=0.0)
    assert signs_of(lied, kept, unknown, slight) == [{Sign.UNKEPT: pytest.approx(0.6)}, {}, {}, {}]


def test_rising_episodes_are_compared_with_those_of_the_same_problem() -> None:
    def trace(name: str, words: int, problem: str = "6 times 7?") -> Result:
        text = " ".join(f"w{number}" for number in range(words))
        return Result(scored(name, [text], [0.1, 0.9], problem=problem).held, problem=problem)

    usual = [trace(f"{number}", 20) for number in range(3)]
    # Of four traces the median is 20 words.
    assert signs_of(*usual, trace("long", 60))[-1] == {Sign.DRAWN_OUT: 3}
    assert signs_of(*usual, trace("long", 59))[-1] == {}
    assert signs_of(*usual, trace("other", 60, problem="?"))[-1] == {}
    assert signs_of(*usual[:2], trace("few others", 60))[-1] == {}
    # However short the others are, a few words are not drawn out.
    assert signs_of(*(trace(f"{number}", 2) for number in range(3)), trace("t", 39))[-1] == {}


def test_a_run_is_summed_by_sign_and_those_that_earned_most_come_first() -> None:
    found = audit([scored("a", [BARE], [0.1, 0.4]), scored("b", [WORK], [0.1, 0.2]), scored("c", [BARE], [0.1, 0.9])])
    assert [each.id for each in found.flagged] == ["c", "a"]
    tally = found.tally(Sign.BARE)
    assert (tally.traces, tally.share, tally.progress) == (2, pytest.approx(2 / 3), pytest.approx(0.55))
    assert found.no_sign.progress == pytest.approx(0.1)
    assert found.tally(Sign.TINY).progress is None


def test_a_trace_without_values_is_read_and_its_progress_is_not_known() -> None:
    found = audit([scored("a", [BARE * 3], [None, None])])
    assert found.traces[0].progress is None
    assert found.any_sign.progress is None
    assert found.flagged == list(found.traces)


def test_no_traces_have_no_shares() -> None:
    assert Audit([], AuditSettings()).any_sign.share == 0


def test_a_setting_outside_its_range_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="times must be above 1"):
        AuditSettings(times=1.0)
