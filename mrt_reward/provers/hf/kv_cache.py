"""Keys and values of a trace, computed once and read by every probe: three caches and one attention function.

`PrefixCache` is filled by the causal pass over the trace. `PackedCache` lends it to a packed pass without changing it.
`StepCache` is a step of decoding, in which rows of several proofs stand side by side.

Dimension key: H query heads · K key heads · R rows · N columns · D head size.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, masking_utils
from transformers.cache_utils import Cache
from transformers.integrations import sdpa_attention
from transformers.masking_utils import AttentionMaskInterface

from mrt_reward.errors import ProverError
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
        """Number of columns that are stored."""
        return self.stored[layer_idx][0].shape[-2] if len(self.stored) > layer_idx else 0


class PrefixCache(_Layers):
    """Grows by each chunk of the trace, and ends the pass (`PrefillDone`) once its last layer is stored.

    Args:
        num_layers: of the network.
        num_tokens: of the trace. Room for all of them is made once, unless its first pass brings them all.

    """

    def __init__(self, num_layers: int, num_tokens: int) -> None:
        super().__init__()
        self._num_layers = num_layers
        self._room: list[KeyValue] = []
        self._num_tokens = num_tokens

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        """Append, and return everything so far."""
        start = self.get_seq_length(layer_idx)
        end = start + key_states.shape[-2]
        if end - start == self._num_tokens:
            self.stored.append((key_states, value_states))
        else:
            self._append(key_states, value_states, layer_idx, slice(start, end))
        if layer_idx == self._num_layers - 1:
            raise PrefillDone
        return self.stored[layer_idx]

    def _append(self, key_states: Tensor, value_states: Tensor, layer_idx: int, columns: slice) -> None:
        if not columns.start:
            self._room.append((self._empty_like(key_states), self._empty_like(value_states)))
        keys, values = self._room[layer_idx]
        keys[:, :, columns], values[:, :, columns] = key_states, value_states
        self.stored[layer_idx : layer_idx + 1] = [(keys[:, :, : columns.stop], values[:, :, : columns.stop])]

    def _empty_like(self, states: Tensor) -> Tensor:
        return states.new_empty((*states.shape[:2], self._num_tokens, states.shape[-1]))


class PackedCache(_Layers):
    """The prefix's first `num_shared` columns followed by one packed row; the prefix stays as it is.

    Args:
        prefix: whose columns are lent.
        num_shared: how many of them.
        keep: whether to hold on to the packed columns, for sampling after them.

    """

    def __init__(self, prefix: PrefixCache, num_shared: int, *, keep: bool) -> None:
        super().__init__()
        self._prefix = prefix
        self._num_shared = num_shared
        self._keep = keep

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns lent, and packed ones that are kept."""
        return self._num_shared + super().get_seq_length(layer_idx)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        """The lent columns and the packed ones."""
        keys, values = self._prefix.stored[layer_idx]
        if self._keep:
            self.stored.append((key_states, value_states))
        return (
            torch.cat([keys[:, :, : self._num_shared], key_states], dim=-2),
            torch.cat([values[:, :, : self._num_shared], value_states], dim=-2),
        )


class Decoding(Protocol):
    """Rows that go on by a token each: they keep its keys and values, and attend by themselves."""

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keep one column of each row, both (K, R, D)."""
        ...

    def attend(self, layer: int, query_RHD: Tensor) -> Tensor:
        """What the rows read, (R, H, D), for their scaled queries."""
        ...


class StepCache(Cache):
    """One decoding step, which is one row of the network's batch: whatever is decoded keeps its own columns.

    Args:
        rows: what is decoded, and its rows of the step.

    """

    def __init__(self, rows: Sequence[tuple[Decoding, slice]]) -> None:
        super().__init__(layers=[])
        self._rows = rows

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """None are to be counted: positions are given."""
        del layer_idx
        return 0

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: object, **__: object) -> KeyValue:
        """Keep the step's columns, and return them."""
        for each, rows in self._rows:
            each.append(layer_idx, key_states[0, :, rows], value_states[0, :, rows])
        return key_states, value_states

    def attend(self, layer_idx: int, query: Tensor) -> Tensor:
        """What each row reads; rows that belong to nothing read zeros.

        Args:
            layer_idx: of the attention layer.
            query: (H, R, D), scaled.

        Returns:
            (1, R, H, D).

        """
        query_RHD = query.transpose(0, 1)
        output_RHD = query_RHD.new_zeros(query_RHD.shape)
        for each, rows in self._rows:
            output_RHD[rows] = each.attend(layer_idx, query_RHD[rows])
        return output_RHD[None]


_STEP: ContextVar[StepCache | None] = ContextVar("step", default=None)


@contextmanager
def stepping(cache: StepCache) -> Generator[None]:
    """Let `shared_prefix_attention` ask this step's rows."""
    token = _STEP.set(cache)
    try:
        yield
    finally:
        _STEP.reset(token)


def shared_prefix_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Scaled dot-product attention; in a decoding step each row reads its own proof's columns instead.

    Args:
        module: the attention layer.
        query: (1, H, R, D).
        key: (1, K, N, D).
        value: like `key`.
        attention_mask: additive, (1, 1, R, N); None for a causal first chunk.
        kwargs: `scaling`, and what concerns transformers.

    Returns:
        (1, R, H, D), and no weights.

    Raises:
        ProverError: a decoding step of a layer that wants more than scaled dot products.

    """
    step = _STEP.get()
    if is_unusual(kwargs):
        if step is not None:
            raise ProverError("a decoding step knows neither capped scores nor sinks", code="unsupported_model")
        return unusual_attention(query, key, value, attention_mask, kwargs)
    if step is None:
        # transformers does not say what it forwards to its own attention functions.
        return sdpa_attention.sdpa_attention_forward(module, query, key, value, attention_mask, **cast("Any", kwargs))
    scale = cast("float | None", kwargs.get("scaling")) or query.shape[-1] ** -0.5
    return step.attend(cast("int", module.layer_idx), query[0] * scale), None


AttentionInterface.register(ATTENTION, shared_prefix_attention)
AttentionMaskInterface.register(ATTENTION, cast("Any", masking_utils).sdpa_mask)
