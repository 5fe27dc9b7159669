"""Tokens by inversion of the cumulative distribution and by addressed noise, worked by hand and counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers import draws
from mrt_reward.provers.draws import draw, draw_coupled
from mrt_reward.provers.noise import Address


def query(temperature: float = 1.0, top_p: float = 1.0) -> RolloutQuery:
    return RolloutQuery(num_samples=1, temperature=temperature, top_p=top_p, max_tokens=1, stop_at_close=False)


# Tokens 0, 1, 2 with 1/2, 1/8 and 3/8.
LOGITS = torch.tensor([[0.5, 0.125, 0.375]]).log()


def test_a_token_owns_as_much_of_the_unit_interval_as_its_probability() -> None:
    uniform = np.array([[0.0, 0.49, 0.51, 0.62, 0.63, 0.999]])
    assert draw(LOGITS, uniform, query()).tolist() == [[0, 0, 1, 1, 2, 2]]


def test_a_nucleus_is_the_fewest_most_probable_tokens_that_reach_top_p() -> None:
    # 1/2 alone does not reach 0.6, 1/2 and 3/8 do: token 0 owns 4/7, token 2 the rest, token 1 nothing.
    uniform = np.array([[0.0, 0.57, 0.58, 0.999]])
    assert draw(LOGITS, uniform, query(top_p=0.6)).tolist() == [[0, 0, 2, 2]]


def test_at_temperature_0_every_draw_is_the_most_probable_token() -> None:
    assert draw(LOGITS, np.array([[0.9, 0.1]]), query(temperature=0)).tolist() == [[0, 0]]


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
def test_a_rows_tokens_do_not_depend_on_its_neighbours(top_p: float) -> None:
    rng = np.random.default_rng(0)
    # The first rows are flat, so that their nucleus is longer than what is looked at first.
    scale = np.array([0.0, 0.01, 3.0, 8.0])[:, None]
    logits = torch.tensor(rng.normal(size=(4, 1000)) * scale)
    uniform = rng.random((4, 16))
    together = draw(logits, uniform, query(top_p=top_p))
    for row in range(4):
        alone = draw(logits[row : row + 1], uniform[row : row + 1], query(top_p=top_p))
        assert together[row].tolist() == alone[0].tolist()


def test_a_long_nucleus_is_that_of_the_whole_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    logits, uniform = torch.tensor(rng.normal(size=(3, 600)) * 0.1), rng.random((3, 32))
    short = draw(logits, uniform, query(top_p=0.9))
    monkeypatch.setattr(draws, "_LOOKED_AT", ())
    assert short.tolist() == draw(logits, uniform, query(top_p=0.9)).tolist()


def coupled(logits: torch.Tensor, num_answers: int, query_: RolloutQuery, *, seed: int = 7) -> np.ndarray:
    """Token of each answer of each row, at the first position."""
    rows = [row for row in range(len(logits)) for _ in range(num_answers)]
    addresses = [Address(seed, sample, 0) for _ in range(len(logits)) for sample in range(num_answers)]
    return draw_coupled(logits, rows, addresses, query_).reshape(len(logits), num_answers)


def chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    return float((((observed - expected) ** 2)[expected > 0] / expected[expected > 0]).sum())


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.8)])
def test_coupling_leaves_the_distribution_of_each_answer_alone(temperature: float, top_p: float) -> None:
    logits = torch.tensor(np.random.default_rng(3).normal(size=(1, 12)) * 1.5)
    both = query(temperature, top_p)
    plain = draw(logits, np.random.default_rng(4).random((1, 10_000)), both)[0]
    noisy = coupled(logits, 10_000, both)[0]
    counts = np.stack([np.bincount(tokens, minlength=12) for tokens in (plain, noisy)])
    if top_p < 1:
        assert (counts[0] > 0).tolist() == (counts[1] > 0).tolist()  # the same nucleus
    # Two samples of one law: under it the statistic has at most 11 degrees of freedom, and 31.3 leaves 0.1 %.
    assert chi_square(counts[1], counts.mean(axis=0)) * 2 < 31.3


def test_rows_that_expect_the_same_draw_the_same_and_similar_rows_nearly_always() -> None:
    rng = np.random.default_rng(5)
    base = rng.normal(size=(1, 50)) * 2
    near = base + rng.normal(size=(1, 50)) * 0.05
    tokens = coupled(torch.tensor(np.concatenate([base, base, near])), 2_000, query())
    assert (tokens[0] == tokens[1]).all()
    assert (tokens[0] == tokens[2]).mean() > 0.95
    # Inverting shared uniform numbers instead would part wherever the order of tokens matters; independent draws do.
    other = coupled(torch.tensor(base), 2_000, query(), seed=8)
    assert (tokens[0] == other[0]).mean() < 0.9


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
def test_a_coupled_token_does_not_depend_on_its_neighbours(top_p: float) -> None:
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(size=(4, 1000)) * np.array([0.0, 0.01, 3.0, 8.0])[:, None])
    together = coupled(logits, 8, query(top_p=top_p))
    for row in range(4):
        assert together[row].tolist() == coupled(logits[row : row + 1], 8, query(top_p=top_p))[0].tolist()


@pytest.mark.parametrize(("top_p", "num_top"), [(1.0, 4), (0.9, 4), (0.9, 11)])
def test_what_is_not_listed_is_drawn_as_often_as_it_is_probable(
    monkeypatch: pytest.MonkeyPatch, top_p: float, num_top: int
) -> None:
    # Three tokens of twelve are listed, and the others race as one: first against these, then among each other.
    logits = torch.tensor(np.random.default_rng(3).normal(size=(1, 12)) * 0.4)
    expected_V = nucleus_law(logits, top_p)
    monkeypatch.setattr(draws, "_NUM_LISTED", 3)
    monkeypatch.setattr(draws, "_LOOKED_AT", (num_top,))
    counts_V = np.bincount(coupled(logits, 10_000, query(top_p=top_p))[0], minlength=12)
    assert (counts_V[expected_V == 0] == 0).all()
    assert 0.3 < counts_V[np.argsort(-expected_V)[3:]].sum() / 10_000 < 0.7
    # At most 11 degrees of freedom, of which 31.3 leaves 0.1 %.
    assert chi_square(counts_V, expected_V * 10_000) < 31.3


def nucleus_law(logits: torch.Tensor, top_p: float) -> np.ndarray:
    """Probabilities by sorting, as the definition has them."""
    probability_V = logits.double().softmax(dim=-1)[0].numpy()
    order = np.argsort(-probability_V)
    kept = order[np.cumsum(probability_V[order]) - probability_V[order] < top_p]
    return np.where(np.isin(np.arange(len(probability_V)), kept), probability_V, 0.0) / probability_V[kept].sum()


def test_answers_of_a_large_vocabulary_agree_although_other_tokens_are_listed() -> None:
    # 64 of 3,000 tokens are listed: they hold a seventh of the mass, and noise of the logits changes which they are.
    rng = np.random.default_rng(6)
    base = rng.normal(size=(1, 3000))
    near = base + rng.normal(size=(1, 3000)) * 0.02
    tokens = coupled(torch.tensor(np.concatenate([base, base, near])), 1_000, query())
    assert (tokens[0] == tokens[1]).all()
    assert (tokens[0] == tokens[2]).mean() > 0.9


def test_tokens_without_any_probability_are_never_drawn() -> None:
    logits = torch.full((1, 1000), -torch.inf)
    logits[0, :2] = 0.0
    assert set(coupled(logits, 500, query())[0].tolist()) == {0, 1}
