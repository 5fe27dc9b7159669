"""Answers while they grow: rows part where draws differ, and end where they must. Logits are made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mrt_reward.protocols import Probe, RolloutQuery
from mrt_reward.provers.hf.sampling import Answers
from mrt_reward.provers.stops import Stops

STOPS = Stops(frozenset({0}), {3: "{", 4: "}"})


def answers(*seeds: int, room: int = 99, num_samples: int = 4, **changes: Any) -> Answers:
    fields: dict[str, Any] = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 3, "stop_at_close": False, **changes}
    probes = [Probe(1, (1,), seed=seed) for seed in seeds]
    return Answers(probes, RolloutQuery(num_samples, **fields), STOPS, [room] * len(seeds))


def logits(*tokens: int) -> torch.Tensor:
    """One row for each token, which is all but certain."""
    rows = torch.full((len(tokens), 8), -100.0)
    rows[range(len(tokens)), list(tokens)] = 0.0
    return rows


def test_answers_that_agree_are_one_row_and_part_where_their_draws_differ() -> None:
    grown = answers(5, num_samples=12)
    assert grown.step(logits(6)) == [0]
    assert [row.samples for row in grown.rows] == [tuple(range(12))]
    parents = grown.step(torch.zeros(1, 8))
    assert set(parents) == {0}
    assert len(grown.rows) > 1
    # The second draws of the probe's own generator, inverted over eight equal tokens.
    generator = np.random.Generator(np.random.PCG64(5))
    generator.random(12)
    expected = [int(u * 8) for u in generator.random(12)]
    assert [ids[1:] for ids in grown.completions(0)] == [(token,) if token else () for token in expected]


def test_a_greedy_answer_needs_one_row_whatever_the_number_of_samples() -> None:
    grown = answers(1, 2, num_samples=50, temperature=0.0)
    assert grown.step(logits(6, 7)) == [0, 1]
    assert [row.token for row in grown.rows] == [6, 7]
    assert set(grown.completions(1)) == {(7,)}


def test_an_end_of_turn_ends_an_answer_and_is_no_part_of_it() -> None:
    grown = answers(1)
    grown.step(logits(6))
    assert grown.step(logits(0)) == []
    assert grown.completions(0) == ((6,),) * 4


@pytest.mark.parametrize(("at_close", "expected"), [(True, (3, 4)), (False, (3, 4, 6))])
def test_balanced_braces_end_an_answer_where_that_is_asked(at_close: bool, expected: tuple[int, ...]) -> None:
    grown = answers(1, stop_at_close=at_close)
    for token in (3, 4, 6):
        if grown.rows:
            grown.step(logits(token))
    assert grown.rows == []
    assert grown.completions(0) == (expected,) * 4


def test_an_answer_ends_with_its_room() -> None:
    grown = answers(1, room=2, max_tokens=50)
    grown.step(logits(6))
    assert grown.step(logits(6)) == []
    assert grown.completions(0) == ((6, 6),) * 4


def test_mean_log_probabilities_are_over_all_tokens_that_were_drawn() -> None:
    grown = answers(1, logprobs=True, temperature=0.0)
    # Token 6 with 1/2, then the end with 1/4.
    first, second = torch.full((1, 8), -torch.inf), torch.full((1, 8), -torch.inf)
    first[0, 6], first[0, 7] = np.log(0.5) + 1e-6, np.log(0.5)
    second[0, 0], second[0, 5:] = np.log(0.25) + 1e-6, np.log(0.25)
    grown.step(first)
    grown.step(second)
    assert grown.completions(0)[0] == (6,)
    assert grown.mean_logprobs(0) == pytest.approx((np.log(1 / 8) / 2,) * 4, abs=1e-5)
    assert answers(1).mean_logprobs(0) == ()


def test_coupled_answers_of_probes_with_one_seed_are_the_same_where_they_expect_the_same() -> None:
    grown = answers(5, 5, 6, num_samples=16, coupled=True)
    for _ in range(3):
        grown.step(torch.zeros(len(grown.rows), 8))
    assert grown.completions(0) == grown.completions(1) != grown.completions(2)
    assert len(set(grown.completions(0))) > 8


def test_a_coupled_answer_does_not_depend_on_how_many_there_are_nor_on_other_probes() -> None:
    few, many = answers(5, num_samples=4, coupled=True), answers(6, 5, num_samples=16, coupled=True)
    for grown in (few, many):
        for _ in range(3):
            grown.step(torch.zeros(len(grown.rows), 8))
    assert few.completions(0) == many.completions(1)[:4]


def test_coupled_greedy_answers_are_greedy() -> None:
    grown = answers(1, 2, num_samples=50, temperature=0.0, coupled=True)
    assert grown.step(logits(6, 7)) == [0, 1]
    assert set(grown.completions(1)) == {(7,)}
