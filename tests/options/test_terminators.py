from __future__ import annotations

from typing import get_args

import pytest

from mrt_reward.options import TERMINATORS, ScoreOptions, Terminator, TerminatorName


def test_every_name_has_its_terminator() -> None:
    assert list(TERMINATORS) == list(get_args(TerminatorName))


@pytest.mark.parametrize("name", get_args(TerminatorName))
def test_a_terminator_closes_the_thinking_and_one_for_boxed_answers_ends_at_the_box(name: TerminatorName) -> None:
    terminator = ScoreOptions(terminator=name).resolved_terminator()
    for text in (terminator.forced, terminator.natural):
        assert "</think>" in text
        assert text.endswith("\\boxed") == (terminator.answer == "boxed")


def test_a_callers_own_terminator_is_taken_as_it_is() -> None:
    own = Terminator(forced="So: ", natural="So: ", answer="free")
    assert ScoreOptions(terminator=own).resolved_terminator() is own
