"""Tokens by inversion of the cumulative distribution, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers import draws
from mrt_reward.provers.draws import draw


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
    monkeypatch.setattr(draws, "_NUM_TOP", 600)
    assert short.tolist() == draw(logits, uniform, query(top_p=0.9)).tolist()
