"""A value as a store keeps it."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mrt_reward.service.records import ANSWER_BYTES, ENTRY_BYTES, VERDICT_BYTES, record_of, size_of, value_of
from mrt_reward.types import SampledAnswer, Value, Verdict

RATES = st.floats(0, 1)
COUNTS = st.integers(0, 10_000)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ANSWERS = st.builds(SampledAnswer, TEXTS, st.sampled_from(Verdict), COUNTS)


@given(RATES, RATES, COUNTS, st.none() | st.lists(ANSWERS, max_size=3).map(tuple))
def test_a_record_is_read_back_as_the_value_that_it_was_made_of(
    rate: float, stderr: float, correct: int, answers: tuple[SampledAnswer, ...] | None
) -> None:
    value = Value(rate, stderr, 0.0, 1.0, correct=correct, answers=answers)
    record = record_of(value)
    assert record is not None
    assert value_of(record) == value


def test_what_could_not_be_read_back_is_no_record() -> None:
    assert record_of(Value(0.5, 0.0, 0.5, 0.5, answers=(SampledAnswer("\ud800", Verdict.CORRECT, 1),))) is None


def test_a_record_that_says_more_or_less_than_a_value_is_none() -> None:
    sound = record_of(Value(0.5, 0.0, 0.5, 0.5))
    assert sound is not None
    assert value_of(sound.decode()) is None, "text is no record"
    assert value_of(sound.replace(b'"value":0.5', b'"value":1.5')) is None
    assert value_of(sound.replace(b'"value":0.5', b'"value":"0.5"')) is None
    assert value_of(sound[:-1]) is None


def test_what_an_entry_holds_counts_towards_the_memory() -> None:
    bare = Value(0.5, 0.0, 0.5, 0.5)
    answer = SampledAnswer("x" * 30, Verdict.CORRECT, 3)
    assert size_of(bare) == ENTRY_BYTES
    kept = dataclasses.replace(bare, answers=(answer, answer), verdicts=(Verdict.CORRECT, Verdict.INCORRECT))
    assert size_of(kept) == ENTRY_BYTES + 2 * (ANSWER_BYTES + 30) + 2 * VERDICT_BYTES
