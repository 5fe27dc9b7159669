"""The embedded engine's plain work: the same network, called plainly.

Dimension key: R rows of a decoding batch · H query heads · K key heads · N columns of the trace · D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache

from mrt_reward.protocols import Prover
from mrt_reward.provers.hf.kv_cache import ATTENTION, KeyValue, StepCache, cache_name, stepping
from mrt_reward.provers.hf.prover import TransformersProver

DECODE_ROWS = 256
"""Answers that are decoded side by side, as many as the prover takes."""


class PlainForward:
    """A `Forward` over a transformers model.

    Args:
        network: a causal language model.

    """

    def __init__(self, network: torch.nn.Module) -> None:
        self._network = network
        self._config = cast("Any", network).config

    @classmethod
    def of(cls, prover: Prover) -> PlainForward:
        """Of the network that a `TransformersProver` runs, with as many threads as its worker takes."""
        engine = cast("TransformersProver", prover)
        if engine.info.num_threads is not None:
            torch.set_num_threads(engine.info.num_threads)
        return cls(engine.network)

    async def prefill(self, lengths: Sequence[int], seed: int) -> None:
        """One forward for each prompt, without a cache."""
        rng = np.random.default_rng(seed)
        with torch.inference_mode():
            for length in lengths:
                ids = self._drawn(rng, (1, length))
                float(self._network(input_ids=ids, use_cache=False, logits_to_keep=1).logits.sum())  # waits for a GPU

    async def decode(self, num_answers: int, num_tokens: int, num_read: int, seed: int) -> None:
        """Batches of rows, a token of each at a time, which read a trace of drawn keys and values and nothing else.

        A network that is asked cut by cut has no rows side by side that read one trace: there each answer is behind a
        single token, which spares it that reading.
        """
        rng = np.random.default_rng(seed)
        packed = self._config._attn_implementation == ATTENTION  # noqa: SLF001 - transformers has no other name for it
        trace = _OneTrace(num_read)
        with torch.inference_mode():
            for start in range(0, num_answers, DECODE_ROWS):
                num_rows = min(DECODE_ROWS, num_answers - start)
                ids = self._drawn(rng, (num_rows, 1))
                if packed:
                    self._decode_behind(trace, ids[:, 0], num_tokens)
                else:
                    self._decode_alone(ids, num_tokens)

    def _decode_behind(self, trace: _OneTrace, ids_R: Tensor, num_tokens: int) -> None:
        # The rows attend by themselves; a mask that is made already keeps transformers from making one.
        mask = torch.ones(1, 1, len(ids_R), 1, dtype=torch.bool, device=ids_R.device)
        cache = StepCache([(trace, slice(0, len(ids_R)))])
        with stepping(cache):
            for position in range(trace.num_columns, trace.num_columns + num_tokens):
                logits = self._network(
                    input_ids=ids_R[None],
                    position_ids=torch.full_like(ids_R, position)[None],
                    attention_mask=mask,
                    use_cache=True,
                    **{cache_name(type(self._network)): cache},
                ).logits
                ids_R = logits[0].argmax(dim=-1)
        int(ids_R.sum())

    def _decode_alone(self, ids: Tensor, num_tokens: int) -> None:
        cache = {cache_name(type(self._network)): DynamicCache(config=self._config)}
        for _ in range(num_tokens):
            ids = self._network(input_ids=ids, use_cache=True, **cache).logits[:, -1:].argmax(dim=-1)
        int(ids.sum())

    def _drawn(self, rng: np.random.Generator, shape: tuple[int, int]) -> Tensor:
        ids = rng.integers(0, int(self._config.vocab_size), shape)
        return torch.from_numpy(ids).to(cast("torch.device", self._network.device))  # pyright: ignore[reportUnknownMemberType] - partial


class _OneTrace:
    """Keys and values that all rows of a step read, by torch's own attention; those of the rows are not kept.

    Args:
        num_columns: of the trace.

    """

    def __init__(self, num_columns: int) -> None:
        self.num_columns = num_columns
        self._drawn: list[KeyValue] = []

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Draw the layer's columns at the first step; the step's own are (K, R, D)."""
        if layer == len(self._drawn):
            shape = (1, len(keys), self.num_columns)
            self._drawn.append(
                (torch.randn(*shape, keys.shape[-1]).to(keys), torch.randn(*shape, values.shape[-1]).to(values))
            )

    def attend(self, layer: int, query_RHD: Tensor) -> Tensor:
        """What the rows read, (R, H, D), for their scaled queries."""
        keys, values = self._drawn[layer]
        query = query_RHD.transpose(0, 1)[None]
        return scaled_dot_product_attention(query, keys, values, scale=1.0, enable_gqa=True)[0].transpose(0, 1)
