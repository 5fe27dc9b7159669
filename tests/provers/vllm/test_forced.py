"""Which answers are forced, and how their steps are read. No engine is needed."""

from __future__ import annotations

import math

import pytest

from mrt_reward.errors import ProverError
from mrt_reward.protocols import SpellingIds
from mrt_reward.provers.likelihood import spelling_logprobs, spelling_tree
from mrt_reward.provers.vllm.forced import Step, forced_paths, steps_lookup


def read(spelling: SpellingIds, steps: list[Step]) -> float:
    tree = spelling_tree([spelling])
    [path] = forced_paths(tree)
    [logprob] = spelling_logprobs(tree, steps_lookup([(path, steps)]))
    return float(logprob)


def test_a_spelling_that_begins_another_is_read_off_it() -> None:
    # "{42" and "{42.0" share a path; "{\frac" needs its own.
    spellings = (SpellingIds((1, 2), (9,)), SpellingIds((1, 2, 3, 4), (8, 9)), SpellingIds((1, 5), (9,)))
    long, other = forced_paths(spelling_tree(spellings))
    assert (long.ids, long.watched, long.nodes) == ((1, 2, 3, 4), (8, 9), (0, 1, 2, 3))
    assert (other.ids, other.watched, other.nodes) == ((1, 5), (9,), (0, 4))


def test_equal_spellings_are_forced_once() -> None:
    [path] = forced_paths(spelling_tree((SpellingIds((1,), (2,)), SpellingIds((1,), (3,)))))
    assert (path.watched, path.nodes) == ((2, 3), (0,))


def test_every_spelling_is_read_off_the_steps_of_the_fewest_forced_answers() -> None:
    spellings = (SpellingIds((1,), (8,)), SpellingIds((1, 2), (8, 9)), SpellingIds((1, 3), (9,)))
    tree = spelling_tree(spellings)
    half, quarter, eighth = math.log(1 / 2), math.log(1 / 4), math.log(1 / 8)
    steps: dict[tuple[int, ...], list[Step]] = {
        (1, 2): [{1: half}, {2: quarter, 8: eighth, 9: -9.0}, {8: eighth, 9: eighth}],
        (1, 3): [{1: half}, {3: eighth, 9: -9.0}, {9: quarter}],
    }
    reported = [(path, steps[path.ids]) for path in forced_paths(tree)]
    # 1/2 · 1/8, then 1/2 · 1/4 · (1/8 + 1/8), then 1/2 · 1/8 · 1/4.
    expected = [math.log(1 / 16), math.log(1 / 32), math.log(1 / 64)]
    assert spelling_logprobs(tree, steps_lookup(reported)).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("value", [math.nan, 0.5, math.inf, None])
def test_what_is_no_log_probability_is_an_error(value: float | None) -> None:
    step = {} if value is None else {1: value}
    with pytest.raises(ProverError, match="expected a log-probability of token 1") as raised:
        read(SpellingIds((1,), (9,)), [step, {9: -1.0}])
    assert raised.value.code == "broken_logprobs"


def test_missing_steps_are_an_error() -> None:
    with pytest.raises(ProverError, match="gave 1 steps of a forced answer, expected 2"):
        read(SpellingIds((1,), (9,)), [{1: -1.0}])
