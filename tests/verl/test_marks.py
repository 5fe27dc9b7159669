from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mrt_verl.marks import NO_PROGRESS, decode, decode_prefixed, encode, encode_prefixed

from mrt_reward.core.scale import ProgressScale
from mrt_reward.errors import TraceError
from mrt_reward.training.records import Lapse, Prefixed, Record, Scored, number_of


def carried(what: Scored | Lapse, num_tokens: int, outcome: float = 1.0, scale: ProgressScale | None = None) -> Record:
    """There and back, in the float32 that frameworks keep."""
    row = np.zeros(num_tokens, np.float32)
    row[-1] = outcome
    for index, value in encode(what, num_tokens, scale or ProgressScale()):
        row[index] += value
    return decode(row, scale or ProgressScale())


def scored(
    start: int, ends: tuple[int, ...], values: list[float], *, cut_off: bool = False, version: int = 0
) -> Scored:
    return Scored(start, ends, np.array(values), cut_off, version)


@settings(deadline=None)
@given(data=st.data())
def test_what_goes_in_comes_out(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, 3))
    lengths = data.draw(st.lists(st.integers(4, 6), min_size=0, max_size=6))
    ends = tuple(start + int(sum(lengths[: j + 1])) for j in range(len(lengths)))
    num_answer = data.draw(st.integers(0, 3))
    values = data.draw(st.lists(st.floats(0, 1), min_size=len(ends) + 1, max_size=len(ends) + 1))
    version = data.draw(st.integers(0, 2**28 - 1))
    what = scored(start, ends, values, cut_off=num_answer == 0, version=version)
    num_tokens = max((*ends, start + 3)) + num_answer
    reading = carried(what, num_tokens, outcome=0.25)
    assert reading.outcome == 0.25
    assert reading.scored is not None
    assert (reading.scored.start, reading.scored.cut_off, reading.scored.version) == (start, num_answer == 0, version)
    if not (num_answer == 0 and not ends):
        assert reading.scored.ends == ends
    assert reading.scored.value_P == pytest.approx(what.value_P, abs=2e-6)


@settings(deadline=None)
@given(st.lists(st.floats(-700, 0), min_size=2, max_size=8), st.sampled_from([1e-300, 1e-100, 1e-12]))
def test_nats_come_through_however_small_values_are(log_values: list[float], floor: float) -> None:
    scale = ProgressScale(progress="log", log_floor=floor)
    value_P = np.exp(log_values)
    ends = tuple(5 * (j + 1) for j in range(len(log_values) - 1))
    reading = carried(scored(0, ends, value_P.tolist()), ends[-1] + 3, scale=scale).scored
    assert reading is not None
    # float32 keeps 24 bits, of up to 690 nats.
    assert scale.levels(reading.value_P) == pytest.approx(scale.levels(value_P), abs=1e-3)
    assert np.diff(scale.levels(reading.value_P)) == pytest.approx(np.diff(scale.levels(value_P)), abs=1e-3)


def test_an_episode_that_changes_no_small_value_earns_nothing_exactly() -> None:
    scale = ProgressScale(progress="log")
    marks = encode(scored(0, (3, 5, 7), [1e-40, 1e-30, 1e-30, 1e-90]), 9, scale)
    assert marks[3] == (4, NO_PROGRESS)
    assert [progress for _, progress in marks[2:]] == pytest.approx([np.log(1e10), NO_PROGRESS, -np.log(1e60)])


@pytest.mark.parametrize("lapse", Lapse)
def test_a_trace_without_scores_says_why_and_weighs_nothing(lapse: Lapse) -> None:
    reading = carried(lapse, 5)
    assert reading == Record(lapse, outcome=1.0, num_tokens=5)
    assert sum(value for _, value in encode(lapse, 5)) < 1e-20
    assert lapse.failed == (lapse is not Lapse.NO_THINKING)


def test_no_progress_is_still_a_boundary() -> None:
    # J: 0.2, 0.5, 0.5, 0.9. The middle episode is waste.
    marks = encode(scored(0, (3, 5, 7), [0.2, 0.5, 0.5, 0.9]), 9)
    assert [index for index, _ in marks] == [0, 1, 2, 4, 6]
    assert marks[3] == (4, NO_PROGRESS)
    reading = carried(scored(0, (3, 5, 7), [0.2, 0.5, 0.5, 0.9]), 9).scored
    assert reading is not None
    assert float(np.diff(reading.value_P)[1]) == 0.0


def test_the_last_token_belongs_to_the_outcome() -> None:
    # Cut off while thinking: the second episode ends with the response, and its mark moves one token left.
    marks = encode(scored(0, (3, 6), [0.5, 0.75, 1.0], cut_off=True), 6)
    assert [index for index, _ in marks] == [0, 1, 2, 4]
    reading = carried(scored(0, (3, 6), [0.5, 0.75, 1.0], cut_off=True), 6)
    assert reading.scored is not None
    assert reading.scored.ends == (3, 6)


def test_episodes_whose_marks_would_share_a_token_become_one() -> None:
    # Episodes end at 5 and 6 of 6 tokens, so both marks want token 4: 0.25 + 0.25 is paid together.
    reading = carried(scored(0, (3, 5, 6), [0.25, 0.5, 0.75, 1.0], cut_off=True), 6).scored
    assert reading is not None
    assert reading.ends == (3, 6)
    assert reading.value_P == pytest.approx([0.25, 0.5, 1.0])


@pytest.mark.parametrize(("start", "end"), [(0, 1), (0, 2), (1, 2)])
def test_an_episode_without_room_for_its_mark_is_paid_with_the_next(start: int, end: int) -> None:
    # The first two tokens hold the version and the opening mark: an episode that ends there has no mark of its own.
    reading = carried(scored(start, (end, 4), [0.25, 0.5, 1.0]), 6).scored
    assert reading is not None
    assert (reading.start, reading.ends) == (start, (4,))
    assert reading.value_P == pytest.approx([0.25, 1.0])
    alone = carried(scored(start, (end,), [0.25, 0.5]), 6).scored
    assert alone is not None
    assert alone.ends == ()


def test_versions_of_a_prover_are_distinguished() -> None:
    numbers = {number_of(f"Qwen/Qwen2.5-1.5B-Instruct@{step}") for step in range(10_000)}
    # Of 5·10^7 pairs, 0.19 would share a number by chance; this set happens to have none.
    assert len(numbers) == 10_000
    carried_ = [carried(scored(2, (5,), [0.5, 1.0], version=number), 8).scored for number in sorted(numbers)[::97]]
    assert [each.version for each in carried_ if each] == sorted(numbers)[::97]


def test_a_response_too_short_for_marks_gets_none() -> None:
    assert encode(scored(0, (1,), [0.5, 1.0]), 2) == []
    assert encode(scored(3, (4,), [0.5, 1.0]), 3) == []
    assert encode(Lapse.TIMEOUT, 1) == []
    assert carried(Lapse.TIMEOUT, 1) == Record(None, outcome=1.0, num_tokens=1)


def test_rows_that_nobody_marked_are_read_as_they_are() -> None:
    assert decode(np.array([0, 0, 2.0], np.float32)) == Record(None, outcome=2.0, num_tokens=3)
    assert decode(np.array([0, 0.5, 2.0], np.float32)) == Record(None, outcome=2.0, num_tokens=3)
    assert decode(np.array([-0.5, 0.5, 2.0], np.float32)) == Record(None, outcome=2.0, num_tokens=3)
    assert decode(np.array([-(2.0**-60), 0.0, 2.0], np.float32)) == Record(None, outcome=2.0, num_tokens=3)
    with pytest.raises(ValueError, match="at least one token"):
        decode(np.array([], np.float32))


def test_spans_follow_each_other() -> None:
    spans = scored(2, (4, 7), [0.0, 0.0, 0.0]).spans
    assert [(span.start, span.end) for span in spans] == [(2, 4), (4, 7)]


def carried_row(row: Prefixed, num_tokens: int, outcome: float = 1.0) -> Record:
    """There and back, in the float32 that frameworks keep."""
    rewards = np.zeros(num_tokens, np.float32)
    rewards[-1] = outcome
    for index, value in encode_prefixed(row, num_tokens):
        rewards[index] += value
    return decode_prefixed(rewards)


@settings(deadline=None)
@given(
    name=st.text(max_size=5),
    value=st.none() | st.floats(0, 1),
    stop=st.booleans(),
    start=st.integers(0, 4),
)
def test_a_row_of_a_prefix_comes_out_as_it_went_in(name: str, value: float | None, stop: bool, start: int) -> None:
    row = Prefixed(number_of(name), value, stop, start)
    reading = carried_row(row, 7, outcome=0.5)
    assert reading.outcome == 0.5
    assert reading.row is not None
    assert (reading.row.group, reading.row.stop, reading.row.start) == (row.group, stop, start)
    assert reading.row.value == (None if value is None else pytest.approx(value, abs=1e-6))


def test_a_row_that_is_too_short_cannot_be_read() -> None:
    assert carried_row(Prefixed(1), 2) == Record(None, outcome=1.0, num_tokens=2)
    assert carried_row(Prefixed(1, start=3), 4).row is None
    with pytest.raises(TraceError, match=r"mrt_value_prefix must be in \[0, 1\], got 2"):
        encode_prefixed(Prefixed(1, 2.0), 9)
