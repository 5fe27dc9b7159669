"""Which answers are forced, and how their steps are read. No engine is needed."""

from __future__ import annotations

import math

import pytest

from mrt_reward.errors import ProverError
from mrt_reward.protocols import SpellingIds
from mrt_reward.provers.vllm_likelihood import forced_paths, spelling_logprob


def test_a_spelling_that_begins_another_is_read_off_it() -> None:
    # "{42" and "{42.0" share a path; "{\frac" needs its own.
    spellings = (SpellingIds((1, 2), (9,)), SpellingIds((1, 2, 3, 4), (8, 9)), SpellingIds((1, 5), (9,)))
    long, other = forced_paths(spellings)
    assert (long.ids, long.watched, sorted(long.spellings)) == ((1, 2, 3, 4), (8, 9), [0, 1])
    assert (other.ids, other.watched, other.spellings) == ((1, 5), (9,), (2,))


def test_equal_spellings_are_forced_once() -> None:
    [path] = forced_paths((SpellingIds((1,), (2,)), SpellingIds((1,), (3,))))
    assert (path.watched, path.spellings) == ((2, 3), (0, 1))


def test_the_closes_are_summed_and_the_tokens_multiplied() -> None:
    # 1/2 for the first token, 1/4 for the second, and 1/8 + 1/8 for either close.
    steps = [{1: math.log(1 / 2)}, {2: math.log(1 / 4)}, {8: math.log(1 / 8), 9: math.log(1 / 8)}]
    assert spelling_logprob(SpellingIds((1, 2), (8, 9)), steps) == pytest.approx(math.log(1 / 32))
    # The shorter spelling closes after its first token.
    steps[1][8] = math.log(1 / 16)
    assert spelling_logprob(SpellingIds((1,), (8,)), steps) == pytest.approx(math.log(1 / 32))


def test_no_chance_is_minus_infinity_and_rounding_never_lifts_above_0() -> None:
    assert spelling_logprob(SpellingIds((1,), (9,)), [{1: 0.0}, {9: -math.inf}]) == -math.inf
    assert spelling_logprob(SpellingIds((1,), (9,)), [{1: 1e-6}, {9: 1e-6}]) == 0.0


@pytest.mark.parametrize("value", [math.nan, 0.5, math.inf, None])
def test_what_is_no_log_probability_is_an_error(value: float | None) -> None:
    step = {} if value is None else {1: value}
    with pytest.raises(ProverError, match="expected a log-probability of token 1") as raised:
        spelling_logprob(SpellingIds((1,), (9,)), [step, {9: -1.0}])
    assert raised.value.code == "broken_logprobs"


def test_missing_steps_are_an_error() -> None:
    with pytest.raises(ProverError, match="gave 1 steps of a forced answer, expected 2"):
        spelling_logprob(SpellingIds((1,), (9,)), [{1: -1.0}])
