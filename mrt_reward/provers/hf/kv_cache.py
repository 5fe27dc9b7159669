"""One trace's keys and values, computed once and read by every probe: three caches and one attention function.

`PrefixCache` is filled by the causal pass over the trace. `PackedCache` lends it to a packed pass without changing it.
`TreeCache` adds to a packed row what is sampled after it: each live row reads the packed row and its own past only, so
a step costs rows · (shared + own) and never rows · rows.

Dimension key: H query heads · K key heads · R live rows · N shared columns · T own steps · D head size.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, masking_utils
from transformers.cache_utils import Cache
from transformers.integrations import sdpa_attention
from transformers.masking_utils import AttentionMaskInterface

from mrt_reward.provers.hf.attention import is_unusual, unusual_attention

ATTENTION = "mrt_shared_prefix"
"""Name under which transformers knows `shared_prefix_attention`."""

KeyValue = tuple[Tensor, Tensor]


@functools.cache
def cache_name(network: type[torch.nn.Module]) -> str:
    """What a network's `forward` calls its cache.

    Newer releases of transformers say `cache`, and deprecate the `past_key_values` of older ones, and of code that
    comes with a model. Models without attention say `cache_params`.
    """
    names = inspect.signature(network.forward).parameters
    return next((name for name in ("cache", "cache_params") if name in names), "past_key_values")


class PrefillDone(Exception):
    """The last layer's keys and values are stored; nobody reads what that layer would compute next."""


class _Layers(Cache):
    """A cache of one batch row, kept as a list of (keys, values) of shape (1, K, length, D)."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.stored: list[KeyValue] = []

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns stored."""
        return self.stored[layer_idx][0].shape[-2] if len(self.stored) > layer_idx else 0

    def _store(self, layer_idx: int, stored: KeyValue) -> KeyValue:
        self.stored[layer_idx : layer_idx + 1] = [stored]
        return stored


class PrefixCache(_Layers):
    """Grows by each chunk of the trace, and ends the pass (`PrefillDone`) once its last layer is stored."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        self._num_layers = num_layers

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        """Append, and return everything so far."""
        if layer_idx < len(self.stored):
            keys, values = self.stored[layer_idx]
            key_states = torch.cat([keys, key_states], dim=-2)
            value_states = torch.cat([values, value_states], dim=-2)
        self._store(layer_idx, (key_states, value_states))
        if layer_idx == self._num_layers - 1:
            raise PrefillDone
        return key_states, value_states


class PackedCache(_Layers):
    """The prefix's first `num_shared` columns followed by one packed row; the prefix stays as it is.

    Args:
        prefix: whose columns are lent.
        num_shared: how many of them.
        keep: whether to hold on to the result, for sampling after it.

    """

    def __init__(self, prefix: PrefixCache, num_shared: int, *, keep: bool) -> None:
        super().__init__()
        self._prefix = prefix
        self._num_shared = num_shared
        self._keep = keep

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        """The lent columns and the packed ones."""
        keys, values = self._prefix.stored[layer_idx]
        packed = (
            torch.cat([keys[:, :, : self._num_shared], key_states], dim=-2),
            torch.cat([values[:, :, : self._num_shared], value_states], dim=-2),
        )
        return self._store(layer_idx, packed) if self._keep else packed


class TreeCache(_Layers):
    """A packed row, and after it T steps of R rows, step by step: column `N + t·R + r` is row r's step t."""

    def __init__(self, packed: PackedCache) -> None:
        super().__init__()
        self._packed = packed

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        """Append one step, and return shared and own columns."""
        own = (key_states, value_states)
        if layer_idx < len(self.stored):
            own = tuple(torch.cat(pair, dim=-2) for pair in zip(self.stored[layer_idx], own, strict=True))
        keys, values = self._store(layer_idx, (own[0], own[1]))
        shared_keys, shared_values = self._packed.stored[layer_idx]
        return torch.cat([shared_keys, keys], dim=-2), torch.cat([shared_values, values], dim=-2)

    def follow(self, parents: Tensor, num_rows: int) -> None:
        """Rows of the next step continue these rows of the last one: some end, some branch."""
        self.stored = [
            (_rows(keys, parents, num_rows), _rows(values, parents, num_rows)) for keys, values in self.stored
        ]


def _rows(states: Tensor, parents: Tensor, num_rows: int) -> Tensor:
    return states.reshape(1, states.shape[1], -1, num_rows, states.shape[-1]).index_select(3, parents).flatten(2, 3)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention; where keys outnumber the mask's columns, the rest is each row's own past.

    Args:
        module: the attention layer.
        query: (1, H, R, D).
        key: (1, K, N, D), or (1, K, N + T·R, D) as `TreeCache` lays it out.
        value: like `key`.
        attention_mask: additive, (1, 1, R, N); None for a causal first chunk.
        kwargs: `scaling`, and what concerns transformers.

    Returns:
        (1, R, H, D), and no weights.

    """
    if is_unusual(kwargs):
        return unusual_attention(query, key, value, attention_mask, kwargs)
    if attention_mask is None or attention_mask.shape[-1] == key.shape[-2]:
        # transformers does not say what it forwards to its own attention functions.
        return sdpa_attention.sdpa_attention_forward(module, query, key, value, attention_mask, **cast("Any", kwargs))
    num_shared, (num_heads, num_rows, size) = attention_mask.shape[-1], query.shape[1:]
    num_key_heads = key.shape[1]
    scale = cast("float | None", kwargs.get("scaling")) or size**-0.5
    query_KGRD = (query * scale).reshape(num_key_heads, -1, num_rows, size)
    shared_keys, own_keys = _split(key, num_shared, num_rows)
    shared_values, own_values = _split(value, num_shared, num_rows)
    shared_KGRN = torch.einsum("kgrd,knd->kgrn", query_KGRD, shared_keys) + attention_mask[0]
    own_KGRT = torch.einsum("kgrd,ktrd->kgrt", query_KGRD, own_keys)
    weights = torch.cat([shared_KGRN, own_KGRT], dim=-1).softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    output_KGRD = torch.einsum("kgrn,knd->kgrd", weights[..., :num_shared], shared_values)
    output_KGRD += torch.einsum("kgrt,ktrd->kgrd", weights[..., num_shared:], own_values)
    return output_KGRD.reshape(1, num_heads, num_rows, -1).transpose(1, 2).contiguous(), None


def _split(states: Tensor, num_shared: int, num_rows: int) -> tuple[Tensor, Tensor]:
    """(K, N, D) of the shared columns and (K, T, R, D) of the own ones."""
    return states[0, :, :num_shared], states[0, :, num_shared:].reshape(states.shape[1], -1, num_rows, states.shape[-1])


AttentionInterface.register(ATTENTION, shared_prefix_attention)
AttentionMaskInterface.register(ATTENTION, cast("Any", masking_utils).sdpa_mask)
