"""Tokens from logits and random numbers: the two ways in which the engines that run here draw.

`draw` inverts the cumulative distribution at uniform numbers of a probe's own. `draw_coupled` adds Gumbel noise that is
addressed and not streamed (`noise`), so that the m-th answers of all probes with one seed are drawn with the same
noise: each by itself is distributed as ever, and where two probes expect the same tokens they write the same answer.

Dimension key: R rows · M draws of a row · V vocabulary · N answers · C listed tokens, the most probable ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers.noise import REST, Address, Words, exponentials, keys

_NUM_TOP = 256
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
    law = _whole_law(probability_RV) if query.top_p == 1 else _nucleus_law(probability_RV, query.top_p)
    row_of, key_N = np.asarray(row_N), keys(address_N)
    token_N = _race(key_N, law.token_RC[row_of], law.weight_RC[row_of])
    for answer in np.flatnonzero(token_N == REST):
        tokens, weights = law.others(int(row_of[answer]))
        token_N[answer] = _race(key_N[answer, None], _array(tokens)[None], _array(weights.double())[None])[0]
    return token_N


@dataclass(frozen=True, slots=True)
class _Law:
    """How probable the next tokens of some rows are, but for a factor.

    Attributes:
        token_RC: those that are listed, and `REST`.
        weight_RC: their probabilities, 0 outside of the nucleus; of `REST` the sum of the others'.
        others: of a row, the tokens that are not listed, and the probabilities of all that have any.

    """

    token_RC: NDArray[np.int64]
    weight_RC: NDArray[np.float64]
    others: Callable[[int], tuple[Tensor, Tensor]]


def _whole_law(probability_RV: Tensor) -> _Law:
    top, ids = probability_RV.topk(min(_NUM_LISTED, probability_RV.shape[-1]), dim=-1)
    other_RV = probability_RV.scatter(1, ids, 0.0)
    every_V = torch.arange(probability_RV.shape[-1])
    return _Law(*_listed(ids, top, other_RV.sum(dim=-1)), lambda row: (every_V, other_RV[row]))


def _nucleus_law(probability_RV: Tensor, top_p: float) -> _Law:
    top, ids = probability_RV.topk(min(_NUM_TOP, probability_RV.shape[-1]), dim=-1)
    top = top.double()
    kept = torch.where(_in_nucleus(top, top_p), top, 0.0)
    rest = kept[:, _NUM_LISTED:].sum(dim=-1)
    others = [(ids[row, _NUM_LISTED:], kept[row, _NUM_LISTED:]) for row in range(len(ids))]
    for row in cast("list[int]", _flat_rows(top, probability_RV, top_p).tolist()):
        ordered, order = probability_RV[row].double().sort(descending=True, stable=True)
        ordered = torch.where(_in_nucleus(ordered, top_p), ordered, 0.0)
        ids[row, :_NUM_LISTED], kept[row, :_NUM_LISTED] = order[:_NUM_LISTED], ordered[:_NUM_LISTED]
        others[row] = order[_NUM_LISTED:], ordered[_NUM_LISTED:]
        rest[row] = others[row][1].sum()
    return _Law(*_listed(ids[:, :_NUM_LISTED], kept[:, :_NUM_LISTED], rest), others.__getitem__)


def _listed(ids: Tensor, weights: Tensor, rest_R: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Tokens of each row and their weights, with `REST` behind them."""
    tokens = torch.nn.functional.pad(ids, (0, 1), value=REST)
    return _array(tokens), _array(torch.cat([weights.double(), rest_R.double()[:, None]], dim=1))


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()


def _race(key_N: Words, token_NC: NDArray[np.int64], weight_NC: NDArray[np.float64]) -> NDArray[np.int64]:
    """The token of each answer that arrives first; one without weight never does."""
    with np.errstate(divide="ignore"):
        first_N = (exponentials(key_N, token_NC) / weight_NC).argmin(axis=1)
    return np.take_along_axis(token_NC, first_N[:, None], axis=1)[:, 0]


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
