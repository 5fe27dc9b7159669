"""A small Llama's own arithmetic, with prompts that the rows of a group share.

transformers runs every row with its prompt. Here a prompt is read once, the rows of its group attend to it together,
and each row keeps only its own keys and values: the same numbers, at a fifth of the cost of a printed map a row.

Dimension key: P prompts · G rows of a prompt · W tokens of a padded prompt · T new tokens · S tokens of the own cache ·
D channels · A heads · H channels of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""What queries get from keys and values of their own, by layer."""


@dataclass
class Prompts:
    """Prompts that have been read.

    Attributes:
        keys: of each layer, `PAWH`.
        values: of each layer, `PAWH`.
        seen_PW: which of their tokens are no padding; padding is on the left.
        last_PD: normalised output of the last token.

    """

    keys: list[Tensor]
    values: list[Tensor]
    seen_PW: Tensor
    last_PD: Tensor

    @property
    def lengths(self) -> Tensor:
        """Tokens of each prompt, `P`."""
        return self.seen_PW.sum(1)


@dataclass
class Cache:
    """Keys and values of what the rows have written, of a fixed size, of each layer: `PGASH`."""

    keys: list[Tensor]
    values: list[Tensor]
    num_tokens: int = 0


class Network:
    """The weights of a model of transformers; it may be trained meanwhile."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        config = model.config
        if config.num_attention_heads != config.num_key_value_heads:
            raise ValueError("expected as many key and value heads as query heads")
        self.model = model
        self.num_heads = config.num_attention_heads
        self.head_size = cast("int", config.head_dim)
        self.epsilon = config.rms_norm_eps
        theta = cast("float", config.rope_parameters["rope_theta"])  # type: ignore[index]
        pairs = torch.arange(0, self.head_size, 2).float() / self.head_size
        self.device = model.device
        self.frequency = (1.0 / theta**pairs).to(self.device)

    def new_cache(self, num_prompts: int, group_size: int, num_tokens: int) -> Cache:
        """Room for `num_tokens` tokens of each row."""
        shape = (num_prompts, group_size, self.num_heads, num_tokens, self.head_size)
        layers = range(len(self.model.model.layers))
        keys, values = ([torch.zeros(shape, device=self.device) for _ in layers] for _ in range(2))
        return Cache(keys, values)

    def logits(self, output: Tensor) -> Tensor:
        """Logits over the vocabulary from normalised outputs."""
        return output @ self.model.lm_head.weight.T

    def read(self, id_PW: Tensor, seen_PW: Tensor) -> Prompts:
        """Read prompts, padded on the left."""
        position_PW = (seen_PW.long().cumsum(1) - 1).clamp(min=0)
        width = id_PW.shape[1]
        causal_WW = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        # A padding token sees itself, because a softmax over nothing is not a number.
        visible = (causal_WW & seen_PW[:, None, :]) | torch.eye(width, dtype=torch.bool, device=self.device)
        x = self.model.model.embed_tokens.weight[id_PW]
        keys: list[Tensor] = []
        values: list[Tensor] = []

        def attend(q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
            del layer
            # Read at every token that is written: laid out once.
            k, v = k.contiguous(), v.contiguous()
            keys.append(k)
            values.append(v)
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None])

        output = self._layers(x, position_PW, attend)
        return Prompts(keys, values, seen_PW, output[:, -1])

    def write(self, id_PGT: Tensor, prompts: Prompts, cache: Cache | None = None) -> Tensor:
        """Outputs of new tokens of each row, `PGTD`, normalised.

        Args:
            id_PGT: the tokens, which all rows have as many of; with a cache, one each.
            prompts: that they follow.
            cache: of what the rows wrote before, which grows; None where they start here, and may be trained.

        """
        num_new = id_PGT.shape[2]
        before = cache.num_tokens if cache else 0
        position = (prompts.lengths[:, None] + before + torch.arange(num_new, device=self.device))[
            :, None, :
        ].expand_as(id_PGT)
        x = self.model.model.embed_tokens.weight[id_PGT]
        attend = self._from_here(prompts, num_new) if cache is None else self._going_on(prompts, cache)
        output = self._layers(x, position, attend)
        if cache is not None:
            cache.num_tokens += num_new
        return output

    @staticmethod
    def _from_here(prompts: Prompts, num_new: int) -> Attend:
        """All new tokens at once, each row with a copy of its prompt: the fastest where gradients are wanted."""
        causal_TT = torch.ones(num_new, num_new, dtype=torch.bool, device=prompts.seen_PW.device).tril()
        seen_PTW = prompts.seen_PW[:, None].expand(-1, num_new, -1)
        visible_PTS = torch.cat([seen_PTW, causal_TT.expand(len(seen_PTW), -1, -1)], -1)

        def attend(q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
            group_size = q.shape[1]

            def after(prompt: Tensor, own: Tensor) -> Tensor:
                return torch.cat([prompt[:, None].expand(-1, group_size, -1, -1, -1), own], 3).flatten(0, 1)

            visible = visible_PTS.repeat_interleave(group_size, 0)[:, None]
            k, v = after(prompts.keys[layer], k), after(prompts.values[layer], v)
            attended = functional.scaled_dot_product_attention(q.flatten(0, 1), k, v, attn_mask=visible)
            return attended.unflatten(0, (-1, group_size))

        return attend

    def _going_on(self, prompts: Prompts, cache: Cache) -> Attend:
        """One token a row, behind what it wrote before; all rows of a prompt ask it at once."""
        before = cache.num_tokens
        unseen = ~prompts.seen_PW[:, None, None, :]

        def attend(q: Tensor, k: Tensor, v: Tensor, layer: int) -> Tensor:
            cache.keys[layer][:, :, :, before : before + 1] = k
            cache.values[layer][:, :, :, before : before + 1] = v
            k, v = (kept[layer][:, :, :, : before + 1] for kept in (cache.keys, cache.values))
            q = q / math.sqrt(self.head_size)
            asked = q[..., 0, :].transpose(1, 2)
            of_prompt = (asked @ prompts.keys[layer].transpose(2, 3)).masked_fill(unseen, -torch.inf)
            width = of_prompt.shape[-1]
            share = torch.cat([of_prompt.transpose(1, 2)[..., None, :], q @ k.transpose(3, 4)], -1).softmax(-1)
            on_prompt = share[..., 0, :width].transpose(1, 2) @ prompts.values[layer]
            return on_prompt.transpose(1, 2)[..., None, :] + share[..., width:] @ v

        return attend

    def _layers(self, x: Tensor, position: Tensor, attend: Attend) -> Tensor:
        angle = position[..., None].float() * self.frequency
        cos, sin = (torch.cat([part, part], -1).unsqueeze(-3) for part in (angle.cos(), angle.sin()))
        for number, layer in enumerate(self.model.model.layers):
            block = cast("Any", layer)
            normed, own = self._norm(x, block.input_layernorm.weight), block.self_attn
            q, k, v = (
                (normed @ part.weight.T).unflatten(-1, (self.num_heads, self.head_size)).transpose(-3, -2)
                for part in (own.q_proj, own.k_proj, own.v_proj)
            )
            q, k = (each * cos + _turned(each) * sin for each in (q, k))
            x = x + attend(q, k, v, number).transpose(-3, -2).flatten(-2) @ own.o_proj.weight.T
            normed, mlp = self._norm(x, block.post_attention_layernorm.weight), block.mlp
            gate = functional.silu(normed @ mlp.gate_proj.weight.T)
            x = x + (gate * (normed @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
        return self._norm(x, self.model.model.norm.weight)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * weight


def _turned(each: Tensor) -> Tensor:
    first, second = each.chunk(2, -1)
    return torch.cat([-second, first], -1)
