"""The hand-made sums are right, and differ in what is thought alone."""

from __future__ import annotations

from tests.real.sums import SUMS


def test_all_are_different_sums_and_only_one_thinking_says_the_total() -> None:
    assert len({each.name for each in SUMS}) == 40
    for each in SUMS:
        found, lost = each.found, each.lost
        assert found.answer == lost.answer == (str(each.total),)
        assert found.problem == lost.problem
        thinking = [str(trace.completion).partition("</think>")[0] for trace in (found, lost)]
        assert thinking[0].count(f"= {each.total}") == 2
        assert str(each.total) not in thinking[1]


def test_the_total_is_said_in_the_last_paragraph_alone() -> None:
    for each in SUMS:
        *before, last = str(each.found.completion).partition("\n</think>")[0].split("\n\n")
        assert f"= {each.total}" in last
        assert all(f"= {each.total}." not in paragraph for paragraph in before)
