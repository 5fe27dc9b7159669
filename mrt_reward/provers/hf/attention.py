"""Attention whose scores are capped, or share their probability with a sink, as no fused kernel computes it.

Dimension key: B batch · H query heads · K key heads · G = H / K · R rows · N columns · D head size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

ROWS = 2048
"""Whose scores are in memory at once, in float32: a first pass over a trace may have many more."""


def is_unusual(kwargs: Mapping[str, object]) -> bool:
    """Whether a layer asks for more than scaled dot products: a cap on its scores (Gemma 2) or sinks (gpt-oss)."""
    return kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None


def unusual_attention(
    query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, kwargs: Mapping[str, object]
) -> tuple[Tensor, None]:
    """Attention as the model's own eager code computes it.

        score = softcap · tanh(q·k · scaling / softcap);  weight = exp(score) / (exp(sink) + Σ exp(score))

    Args:
        query: (B, H, R, D).
        key: (B, K, N, D).
        value: like `key`.
        attention_mask: (B or 1, 1, R, N), boolean or additive; None is causal, the last row seeing all
            columns.
        kwargs: `scaling`, and `softcap` and `s_aux` (H sinks) where the layer has them.

    Returns:
        (B, R, H, D), and no weights.

    """
    num_rows, num_columns = query.shape[-2], key.shape[-2]
    parts: list[Tensor] = []
    for start in range(0, num_rows, ROWS):
        rows = slice(start, min(start + ROWS, num_rows))
        mask = None if attention_mask is None else attention_mask[..., rows, :]
        seen = num_columns if mask is not None else num_columns - num_rows + rows.stop
        parts.append(_attended(query[:, :, rows], key[:, :, :seen], value[:, :, :seen], mask, kwargs))
    return torch.cat(parts, dim=1), None


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, kwargs: Mapping[str, object]) -> Tensor:
    """Of some rows, (B, R, H, D); without a mask the last of them sees all columns."""
    batch, num_heads, num_rows, size = query.shape
    scaling = cast("float | None", kwargs.get("scaling")) or size**-0.5
    query_BKGRD = query.reshape(batch, key.shape[1], -1, num_rows, size)
    scores = torch.einsum("bkgrd,bknd->bkgrn", query_BKGRD, key).reshape(batch, num_heads, num_rows, -1) * scaling
    cap = cast("float | None", kwargs.get("softcap"))
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    scores = _masked(scores, mask).float()
    sinks = cast("Tensor | None", kwargs.get("s_aux"))
    if sinks is not None:
        scores = torch.cat([scores, sinks.float().reshape(1, -1, 1, 1).expand(batch, -1, num_rows, 1)], dim=-1)
    weights = scores.softmax(dim=-1)[..., : key.shape[-2]].to(value.dtype)
    weights_BKGRN = weights.reshape(batch, key.shape[1], -1, num_rows, key.shape[-2])
    output = torch.einsum("bkgrn,bknd->bkgrd", weights_BKGRN, value)
    return output.reshape(batch, num_heads, num_rows, -1).transpose(1, 2).contiguous()


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        num_rows, num_columns = scores.shape[-2:]
        mask = torch.ones(num_rows, num_columns, dtype=torch.bool, device=scores.device).tril(num_columns - num_rows)
    return scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
