"""Decodes a batch of Qwen2 sequences with a key-value cache that is allocated once.

The cache of transformers grows by concatenation, which copies it whole at every token; on a CPU that costs more than
the tiny model itself. Rows that are done are dropped, so that the batch shrinks as traces end.

Dimension key: B rows, H heads, T cached tokens, Q new tokens, D channels of a head, V vocabulary.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2ForCausalLM


def _rotated(x_BHQD: Tensor, cos_B1QD: Tensor, sin_B1QD: Tensor) -> Tensor:
    """Rotary position embedding, in the half-split layout of Qwen2."""
    left, right = x_BHQD.chunk(2, dim=-1)
    return x_BHQD * cos_B1QD + torch.cat((-right, left), dim=-1) * sin_B1QD


class Decoder:
    """One batch of growing sequences.

    Attributes:
        length_B: tokens that each row has cached.

    """

    def __init__(self, model: Qwen2ForCausalLM, num_rows: int, max_tokens: int) -> None:
        config = model.config
        heads, size = cast("int", config.num_attention_heads), cast("int", config.hidden_size)
        if config.num_key_value_heads != heads:
            raise ValueError(f"expected as many key-value heads as heads, got {config.num_key_value_heads} and {heads}")
        self.model = model
        self.heads = heads
        shape = (num_rows, heads, max_tokens, size // heads)
        self.keys = [torch.zeros(shape) for _ in model.model.layers]
        self.values = [torch.zeros(shape) for _ in model.model.layers]
        self.length_B = torch.zeros(num_rows, dtype=torch.long)

    @torch.no_grad()
    def step(self, id_BQ: Tensor, num_new_B: Tensor) -> Tensor:
        """Append tokens to each row.

        Args:
            id_BQ: new tokens, padded on the right.
            num_new_B: how many of them are real, at least one per row.

        Returns:
            `logits_BV` after each row's last real token.

        """
        num_new = id_BQ.shape[1]
        position_BQ = self.length_B[:, None] + torch.arange(num_new)
        seen = int(position_BQ.max()) + 1
        # What lies behind a row's last real token is written over before anything may look at it.
        visible_B1QT = (torch.arange(seen) <= position_BQ[:, :, None])[:, None]
        body = self.model.model
        x_BQC = body.embed_tokens(id_BQ)
        cos_BQD, sin_BQD = body.rotary_emb(x_BQC, position_BQ)
        row_B1 = torch.arange(id_BQ.shape[0])[:, None]
        for layer, keys, values in zip(body.layers, self.keys, self.values, strict=True):
            attention = layer.self_attn
            hidden = layer.input_layernorm(x_BQC)
            q, k, v = (
                project(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            keys[row_B1, :, position_BQ] = _rotated(k, cos_BQD[:, None], sin_BQD[:, None]).transpose(1, 2)
            values[row_B1, :, position_BQ] = v.transpose(1, 2)
            mixed = functional.scaled_dot_product_attention(
                _rotated(q, cos_BQD[:, None], sin_BQD[:, None]),
                keys[:, :, :seen],
                values[:, :, :seen],
                attn_mask=visible_B1QT,
            )
            x_BQC = x_BQC + attention.o_proj(mixed.transpose(1, 2).flatten(2))
            x_BQC = x_BQC + layer.mlp(layer.post_attention_layernorm(x_BQC))
        self.length_B = self.length_B + num_new_B
        last_BC = x_BQC[row_B1[:, 0], num_new_B - 1]
        return self.model.lm_head(body.norm(last_BC))

    def keep(self, kept: Tensor) -> None:
        """Drop all rows but those of the indices `kept`."""
        self.keys = [keys[kept] for keys in self.keys]
        self.values = [values[kept] for values in self.values]
        self.length_B = self.length_B[kept]
