"""Tokens from logits and random numbers: the two ways in which the engines that run here draw.

`draw` inverts the cumulative distribution at uniform numbers of a probe's own. `draw_coupled` adds Gumbel noise that is
addressed and not streamed, so that the m-th answers of all probes with one seed are drawn with the same noise: each by
itself is distributed as ever, and where two probes expect the same tokens they write the same answer.

Dimension key: R rows · M draws of a row · V vocabulary · N answers · C candidate tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import RolloutQuery

_NUM_TOP = 256


def draw(logits_RV: Tensor, uniform_RM: NDArray[np.float64], query: RolloutQuery) -> NDArray[np.int64]:
    """Tokens by inversion of the cumulative distribution, so that they depend on the row and its draws only.

    With `top_p` below 1 the cumulative sum runs over the nucleus, most probable first; otherwise over all ids in order.

    Returns:
        `token_RM`; every column is the most probable token at temperature 0.

    """
    if query.temperature == 0:
        return logits_RV.argmax(dim=-1, keepdim=True).expand(-1, uniform_RM.shape[1]).cpu().numpy()
    probability_RV = (logits_RV.double() / query.temperature).softmax(dim=-1)
    uniform = torch.from_numpy(uniform_RM).to(logits_RV.device)  # pyright: ignore[reportUnknownMemberType] - partial
    if query.top_p == 1:
        return _invert(probability_RV.cumsum(dim=-1), uniform).cpu().numpy()
    top, ids = probability_RV.topk(min(_NUM_TOP, probability_RV.shape[-1]), dim=-1)
    token_RM = ids.gather(1, _invert(_nucleus(top, query.top_p), uniform))
    flat = _flat_rows(top, probability_RV, query.top_p)
    if len(flat):
        top, ids = probability_RV[flat].sort(dim=-1, descending=True, stable=True)
        token_RM[flat] = ids.gather(1, _invert(_nucleus(top, query.top_p), uniform[flat]))
    return token_RM.cpu().numpy()


@dataclass(frozen=True, slots=True)
class Address:
    """Where the noise of one drawn token is found, wherever and whenever that is.

    Attributes:
        seed: shared by what is coupled.
        sample: index m of the answer.
        position: of the token in its answer.

    """

    seed: int
    sample: int
    position: int


def draw_coupled(
    logits_RV: Tensor, row_N: Sequence[int], address_N: Sequence[Address], query: RolloutQuery
) -> NDArray[np.int64]:
    """The next token of N answers, by the Gumbel-max trick with addressed noise.

        token = argmax_v (logit[v] / temperature + g[v]),    g[v] = -log(-log u[v])

    over the nucleus, with u[v] the v-th number of the Philox stream that the address names. P(token = v) is what
    `draw` gives it.

    Args:
        logits_RV: of R rows.
        row_N: the row that each answer continues.
        address_N: of each answer's noise.
        query: `temperature` above 0, and `top_p`.

    Returns:
        `token_N`.

    """
    score_RV = logits_RV.double() / query.temperature
    if query.top_p < 1:
        score_RV = _only_nucleus(score_RV, query.top_p)
    answers_of: dict[Address, list[int]] = {}
    for answer, address in enumerate(address_N):
        answers_of.setdefault(address, []).append(answer)
    token_N = np.empty(len(row_N), np.int64)
    for address, answers in answers_of.items():
        noise_V = torch.from_numpy(gumbel(address, score_RV.shape[-1]))  # pyright: ignore[reportUnknownMemberType] - partial
        rows = [row_N[answer] for answer in answers]
        token_N[answers] = (score_RV[rows] + noise_V.to(score_RV.device)).argmax(dim=-1).cpu().numpy()
    return token_N


def gumbel(address: Address, num_tokens: int) -> NDArray[np.float64]:
    """Standard Gumbel noise g[v] for v = 0 … num_tokens - 1, a function of the address alone."""
    # The lowest word counts blocks of tokens; the address is in the others, so no two streams meet.
    stream = np.random.Philox(key=address.seed, counter=[0, 0, address.position, address.sample])
    uniform_V = np.random.Generator(stream).random(num_tokens)
    # Where u is 0 the noise would be infinite, and hide the score that it is added to.
    return -np.log(-np.log1p(-uniform_V) + 2**-60)


def _only_nucleus(score_RV: Tensor, top_p: float) -> Tensor:
    """The scores, -∞ outside each row's nucleus."""
    probability_RV = score_RV.softmax(dim=-1)
    top, ids = probability_RV.topk(min(_NUM_TOP, probability_RV.shape[-1]), dim=-1)
    kept_RV = torch.zeros_like(probability_RV, dtype=torch.bool).scatter(1, ids, _in_nucleus(top, top_p))
    flat = _flat_rows(top, probability_RV, top_p)
    if len(flat):
        top, ids = probability_RV[flat].sort(dim=-1, descending=True, stable=True)
        kept_RV[flat] = torch.zeros_like(kept_RV[flat]).scatter(1, ids, _in_nucleus(top, top_p))
    return score_RV.masked_fill(~kept_RV, -torch.inf)


def _flat_rows(top: Tensor, probability_RV: Tensor, top_p: float) -> Tensor:
    """Rows whose nucleus is longer than what was looked at, told row by row: neighbours must not change a row."""
    if top.shape[-1] == probability_RV.shape[-1]:
        return torch.empty(0, dtype=torch.long, device=top.device)
    return (top.sum(dim=-1) < top_p).nonzero()[:, 0]


def _in_nucleus(top: Tensor, top_p: float) -> Tensor:
    """Which of some tokens, most probable first, are the fewest that reach `top_p`."""
    return top.cumsum(dim=-1) - top < top_p


def _nucleus(top: Tensor, top_p: float) -> Tensor:
    """Cumulative probabilities of the tokens of the nucleus; constant after them."""
    return torch.where(_in_nucleus(top, top_p), top, 0.0).cumsum(dim=-1)


def _invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Index of the token whose slice of the (unnormalised) cumulative distribution holds each draw in [0, 1)."""
    total = cumulative[:, -1:].contiguous()
    index = torch.searchsorted(cumulative, uniform * total, right=True)
    # Rounding may put the last draw on the total itself: the last token with any probability takes it.
    return torch.minimum(index, torch.searchsorted(cumulative, total))
