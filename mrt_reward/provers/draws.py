"""Tokens from logits and random numbers: the two ways in which the engines that run here draw.

`draw` inverts the cumulative distribution at uniform numbers of a probe's own. `draw_coupled` adds Gumbel noise that is
addressed and not streamed (`noise`), so that the m-th answers of all probes with one seed are drawn with the same noise: each by
itself is distributed as ever, and where two probes expect the same tokens they write the same answer.

Dimension key: R rows · M draws of a row · V vocabulary · N answers · C listed tokens, the most probable ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers.noise import REST, Address, exponentials

_NUM_TOP = 256
_ROUNDING = 1e-12
"""Of a sum of probabilities in double precision."""


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


def draw_coupled(
    logits_RV: Tensor, row_N: Sequence[int], address_N: Sequence[Address], query: RolloutQuery
) -> NDArray[np.int64]:
    """The next token of N answers, by the Gumbel-max trick with addressed noise, written as a race:

        token = argmax_v (log p[v] + g[v]) = argmin_v e[v] / p[v],    e = exp(-g) exponential

    over the nucleus. P(token = v) is what `draw` gives it. Noise is made for the `_NUM_TOP` most probable tokens alone;
    the others race as one, with noise of their own for their sum, and among each other where that one wins: the least
    of exponentials with rates p[v] is exponential with rate Σ p[v], whichever of them it is.

    Args:
        logits_RV: of R rows.
        row_N: the row that each answer continues.
        address_N: of each answer's noise.
        query: `temperature` above 0, and `top_p`.

    Returns:
        `token_N`, int64.

    """
    probability_RV = (logits_RV.double() / query.temperature).softmax(dim=-1)
    law = _listed(probability_RV, query.top_p)
    rows = np.asarray(row_N)
    listed_NC = law.token_RC[rows]
    race_NC = _race(exponentials(address_N, listed_NC), law.weight_RC[rows])
    first_N = race_NC.argmin(axis=1)[:, None]
    token_N = np.take_along_axis(listed_NC, first_N, axis=1)[:, 0]
    rest_N = _race(exponentials(address_N, np.full((len(rows), 1), REST)), law.rest_R[rows, None])
    beaten_N = (rest_N < np.take_along_axis(race_NC, first_N, axis=1))[:, 0]
    for row in np.unique(rows[beaten_N]):
        weight_V = _unlisted(probability_RV[row], law.token_RC[row], query.top_p)
        token_V = np.arange(len(weight_V))[None]
        for answer in np.flatnonzero(beaten_N & (rows == row)):
            token_N[answer] = _race(exponentials([address_N[answer]], token_V), weight_V[None]).argmin()
    return token_N


@dataclass(frozen=True, slots=True)
class _Listed:
    """The most probable tokens of each row, and the mass of the others.

    Attributes:
        token_RC: most probable first.
        weight_RC: their probabilities; 0 outside of the nucleus.
        rest_R: probability of the nucleus beyond them; exactly 0 where nothing is left.

    """

    token_RC: NDArray[np.int64]
    weight_RC: NDArray[np.float64]
    rest_R: NDArray[np.float64]


def _listed(probability_RV: Tensor, top_p: float) -> _Listed:
    top, ids = probability_RV.topk(min(_NUM_TOP, probability_RV.shape[-1]), dim=-1)
    rest = torch.zeros_like(top[:, 0])
    if top_p == 1 and top.shape[-1] < probability_RV.shape[-1]:
        rest = 1 - top.sum(dim=-1)
        rest = torch.where(rest > _ROUNDING, rest, 0.0)
    elif top_p < 1:
        for row in _flat_rows(top, probability_RV, top_p).tolist():
            ordered, order = probability_RV[row].sort(descending=True, stable=True)
            inside = torch.where(_in_nucleus(ordered, top_p), ordered, 0.0)
            top[row], ids[row], rest[row] = ordered[:_NUM_TOP], order[:_NUM_TOP], inside[_NUM_TOP:].sum()
        top = torch.where(_in_nucleus(top, top_p), top, 0.0)
    return _Listed(ids.cpu().numpy(), top.cpu().numpy(), rest.cpu().numpy())


def _unlisted(probability_V: Tensor, listed_C: NDArray[np.int64], top_p: float) -> NDArray[np.float64]:
    """Probabilities of a row's nucleus, 0 where they are listed."""
    if top_p < 1:
        ordered, order = probability_V.sort(descending=True, stable=True)
        probability_V = probability_V.index_fill(0, order[~_in_nucleus(ordered, top_p)], 0.0)
    weight_V = probability_V.cpu().numpy().copy()
    weight_V[listed_C] = 0.0
    return weight_V


def _race(exponential: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """When each arrives; never where the weight is 0."""
    return np.divide(exponential, weight, out=np.full(exponential.shape, np.inf), where=weight > 0)


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
