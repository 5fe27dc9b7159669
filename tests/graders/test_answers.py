from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.graders.answers import Answer, clean, find_answer, first_braces, last_boxes, whole_text
from mrt_reward.protocols import GradeItem


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("{42}. Done {7}", "42"),
        (r"  {\frac{1}{2}} rest", r"\frac{1}{2}"),
        (r"{\left\{1,2\right.}", r"\left\{1,2\right."),
        (r"{\boxed{3}}", r"\boxed{3}"),
        ("}{5}", "5"),
        ("{5", None),
        ("{ {5}", None),
        ("5", None),
        ("", None),
    ],
)
def test_the_first_balanced_braces_are_the_answer_after_a_trusted_box(text: str, content: str | None) -> None:
    assert first_braces(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"{ stray \boxed {\text{a}}", r"\text{a}"),
        (r"\fbox{8}", "8"),
        (r"\\boxed{4}", None),
        ("no box", None),
    ],
)
def test_the_box_that_opens_last_and_closes_is_the_answer(text: str, content: str | None) -> None:
    assert last_boxes(text)[-1:] == (() if content is None else (content,))


def test_boxes_that_stand_close_together_are_found_together() -> None:
    assert last_boxes(r"\boxed{1}" + " far" * 30 + r"\boxed{2}, \boxed{3}") == ("2", "3")
    assert last_boxes(r"\boxed{\boxed{2} or \boxed{3}}") == ("2", "3")
    assert last_boxes("none") == ()


def test_many_boxes_in_each_other_are_taken_off_at_once() -> None:
    assert clean(r"\boxed{" * 3000 + "5" + "}" * 3000) == "5"
    assert clean(r"\boxed{ $\boxed{5}$ }") == "5"


def test_thinking_is_not_searched_for_the_answer() -> None:
    assert find_answer(GradeItem(r"<think>\boxed{1}</think> so \boxed{2}", ())) == Answer("2", boxed=True)
    assert find_answer(GradeItem(r"<think>\boxed{1}</think> so 2", ())) == Answer("so 2", boxed=False)
    assert find_answer(GradeItem(r"<think>\boxed{1}</think> ", ())) is None


def test_an_empty_or_open_box_is_no_answer() -> None:
    assert find_answer(GradeItem("{ }", (), boxed_prefix=True)) is None
    assert find_answer(GradeItem("{1", (), boxed_prefix=True)) is None
    assert find_answer(GradeItem(" {1} ", (), boxed_prefix=True)) == Answer("1", boxed=True)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        (" $5$ ", "5"), ("$$5$$", "5"), (r"\(5\)", "5"), (r"\[ 5 \]", "5"), (r"\boxed{5}", "5"),
        (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"), ("$1$ and $2$", "$1$ and $2$"), (r"\boxed{1}+\boxed{2}",) * 2,
        (r"\boxed{}", r"\boxed{}"), ("$", "$"), (r"\$5", r"\$5"), (r"\boxedx{5}", r"\boxedx{5}"),
    ],
)  # fmt: skip
def test_cleaning_takes_off_mathematical_wrapping_only(text: str, bare: str) -> None:
    assert clean(text) == bare


@given(st.text(alphabet=r"${}\boxed()[]1 ", max_size=40))
def test_cleaning_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_a_trusted_box_is_shown_to_graders_of_whole_texts() -> None:
    assert whole_text(GradeItem("{1}", (), boxed_prefix=True)) == r"\boxed{1}"
    assert whole_text(GradeItem("{1}", ())) == "{1}"
