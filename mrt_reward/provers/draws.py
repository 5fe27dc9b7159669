"""Tokens from logits and uniform numbers: the one way in which the engines that run here draw.

Dimension key: R rows · M draws of a row · V vocabulary.
"""

from __future__ import annotations

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
    # A flat distribution's nucleus is longer. This is told row by row: neighbours must not change a row's tokens.
    flat = (top.sum(dim=-1) < query.top_p).nonzero()[:, 0]
    if len(flat) and probability_RV.shape[-1] > _NUM_TOP:
        top, ids = probability_RV[flat].sort(dim=-1, descending=True, stable=True)
        token_RM[flat] = ids.gather(1, _invert(_nucleus(top, query.top_p), uniform[flat]))
    return token_RM.cpu().numpy()


def _nucleus(top: Tensor, top_p: float) -> Tensor:
    """Cumulative probabilities of the fewest most probable tokens that reach `top_p`; constant after them."""
    return torch.where(top.cumsum(dim=-1) - top < top_p, top, 0.0).cumsum(dim=-1)


def _invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Index of the token whose slice of the (unnormalised) cumulative distribution holds each draw in [0, 1)."""
    total = cumulative[:, -1:].contiguous()
    index = torch.searchsorted(cumulative, uniform * total, right=True)
    # Rounding may put the last draw on the total itself: the last token with any probability takes it.
    return torch.minimum(index, torch.searchsorted(cumulative, total))
