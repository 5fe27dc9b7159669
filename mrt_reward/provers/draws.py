"""Tokens from logits and random numbers: the two ways in which the engines that run here draw.

`draw` inverts the cumulative distribution at uniform numbers of a probe's own. `draw_coupled` adds Gumbel noise that is
addressed and not streamed (`noise`), so that the m-th answers of all probes with one seed are drawn with the same
noise: each by itself is distributed as ever, and where two probes expect the same tokens they write the same answer.

Dimension key: R rows · M draws of a row · S some of the rows · V vocabulary · N answers · C listed tokens, the most
probable ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers.noise import REST, Address, Words, exponentials, keys

_LOOKED_AT = 16, 256
"""How many of the most probable tokens are looked at for a nucleus; whose nucleus is longer has all of them sorted."""

_NUM_LISTED = 64
"""Tokens with noise of their own wherever they may be drawn."""


def draw(logits_RV: Tensor, uniform_RM: NDArray[np.float64], query: RolloutQuery) -> NDArray[np.int64]:
    """Tokens by inversion of the cumulative distribution, so that they depend on the row and its draws only.

    With `top_p` below 1 the cumulative sum runs over the nucleus, most probable first; otherwise over all ids in order.

    Returns:
        `token_RM`; every column is the most probable token at temperature 0.

    """
    if query.temperature == 0:
        return logits_RV.argmax(dim=-1, keepdim=True).expand(-1, uniform_RM.shape[1]).cpu().numpy()
    probability_RV = (logits_RV.float() / query.temperature).softmax(dim=-1)
    drawn_RM = torch.from_numpy(uniform_RM).to(logits_RV.device)  # pyright: ignore[reportUnknownMemberType] - partial
    if query.top_p == 1:
        return _array(_invert(probability_RV.cumsum(dim=-1, dtype=torch.float64), drawn_RM))
    token_RM = torch.zeros(uniform_RM.shape, dtype=torch.long, device=logits_RV.device)
    for row_S, token_SC, weight_SC in _nuclei(probability_RV, query.top_p):
        token_RM[row_S] = token_SC.gather(1, _invert(weight_SC.cumsum(dim=-1), drawn_RM[row_S]))
    return _array(token_RM)


def draw_coupled(
    logits_RV: Tensor, row_N: Sequence[int], address_N: Sequence[Address], query: RolloutQuery
) -> NDArray[np.int64]:
    """The next token of N answers, by the Gumbel-max trick with addressed noise, written as a race.

        token = argmax_v (log p[v] + g[v]) = argmin_v e[v] / p[v],    e = exp(-g) exponential

    over the nucleus. P(token = v) is what `draw` gives it, as exactly as logits in float32 tell. Noise is made for the
    `_NUM_LISTED` most probable tokens alone. The others race as one, with noise of their own for their sum, and then
    among each other where that wins: the least of exponentials with rates p[v] is exponential with rate Σ p[v],
    whichever of them it is.

    Args:
        logits_RV: of R rows.
        row_N: the row that each answer continues.
        address_N: of each answer's noise.
        query: `temperature` above 0, and `top_p`.

    Returns:
        `token_N`, int64.

    """
    probability_RV = (logits_RV.float() / query.temperature).softmax(dim=-1)
    row_of, key_N = np.asarray(row_N), keys(address_N)
    token_N = np.empty(len(row_of), np.int64)
    for law in [_whole_law(probability_RV)] if query.top_p == 1 else _nucleus_laws(probability_RV, query.top_p):
        mine = np.flatnonzero(np.isin(row_of, law.row_S))
        token_N[mine] = law.raced(np.searchsorted(law.row_S, row_of[mine]), key_N[mine])
    return token_N


@dataclass(frozen=True, slots=True)
class _Law:
    """How probable the next tokens of some rows are, but for a factor.

    Attributes:
        row_S: which rows, ascending.
        token_SC: those that are listed, and `REST`.
        weight_SC: their probabilities, 0 outside of the nucleus; of `REST` the sum of the others'.
        others: of one of the S, the tokens that are not listed, and the probabilities of all that have any.

    """

    row_S: NDArray[np.int64]
    token_SC: NDArray[np.int64]
    weight_SC: NDArray[np.float64]
    others: Callable[[int], tuple[Tensor, Tensor]]

    def raced(self, which_N: NDArray[np.int64], key_N: Words) -> NDArray[np.int64]:
        """The next token of answers that continue these of the S."""
        token_N = _race(key_N, self.token_SC[which_N], self.weight_SC[which_N])
        for answer in np.flatnonzero(token_N == REST):
            tokens, weights = self.others(int(which_N[answer]))
            token_N[answer] = _race(key_N[answer, None], _array(tokens)[None], _array(weights.double())[None])[0]
        return token_N


def _whole_law(probability_RV: Tensor) -> _Law:
    top, ids = probability_RV.topk(min(_NUM_LISTED, probability_RV.shape[-1]), dim=-1)
    other_RV = probability_RV.scatter(1, ids, 0.0)
    every_V = torch.arange(probability_RV.shape[-1])
    rows = np.arange(len(probability_RV))
    return _Law(rows, *_listed(ids, top, other_RV.sum(dim=-1)), lambda row: (every_V, other_RV[row]))


def _nucleus_laws(probability_RV: Tensor, top_p: float) -> Iterator[_Law]:
    listed, others = slice(None, _NUM_LISTED), slice(_NUM_LISTED, None)
    for row_S, token_SC, weight_SC in _nuclei(probability_RV, top_p):
        rest_S = weight_SC[:, others].sum(dim=-1)
        lists = _listed(token_SC[:, listed], weight_SC[:, listed], rest_S)
        # Read by `raced` before the next are made.
        yield _Law(_array(row_S), *lists, lambda row: (token_SC[row, others], weight_SC[row, others]))  # noqa: B023


def _listed(ids: Tensor, weights: Tensor, rest_S: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens of each row and their weights, with `REST` behind them."""
    tokens = torch.nn.functional.pad(ids, (0, 1), value=REST)
    return _array(tokens), _array(torch.cat([weights.double(), rest_S.double()[:, None]], dim=1))


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()


def _race(key_N: Words, token_NC: NDArray[np.int64], weight_NC: NDArray[np.float64]) -> NDArray[np.int64]:
    """The token of each answer that arrives first; one without weight never does."""
    with np.errstate(divide="ignore"):
        first_N = (exponentials(key_N, token_NC) / weight_NC).argmin(axis=1)
    return np.take_along_axis(token_NC, first_N[:, None], axis=1)[:, 0]


def _nuclei(probability_RV: Tensor, top_p: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows, their most probable tokens in that order, and what these weigh: 0 outside of the nucleus.

    Rows come apart by how many tokens are looked at, which each row tells by itself: neighbours must not change a row.
    """
    row_S = torch.arange(len(probability_RV), device=probability_RV.device)
    for size in _LOOKED_AT:
        if size >= probability_RV.shape[-1]:
            break
        top, ids = probability_RV[row_S].topk(size, dim=-1)
        weights, enough = _weighed(top, top_p)
        yield row_S[enough], ids[enough], weights[enough]
        row_S = row_S[~enough]
        if not len(row_S):
            return
    top, ids = probability_RV[row_S].sort(dim=-1, descending=True, stable=True)
    yield row_S, ids, _weighed(top, top_p)[0]


def _weighed(top: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Probabilities of the fewest of these tokens that reach `top_p`, 0 for the others; and which rows reach it."""
    top = top.double()
    total = top.cumsum(dim=-1)
    return torch.where(total - top < top_p, top, 0.0), total[:, -1] >= top_p


def _invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Index of the token whose slice of the (unnormalised) cumulative distribution holds each draw in [0, 1)."""
    total = cumulative[:, -1:].contiguous()
    index = torch.searchsorted(cumulative, uniform * total, right=True)
    # Rounding may put the last draw on the total itself: the last token with any probability takes it.
    return torch.minimum(index, torch.searchsorted(cumulative, total))
