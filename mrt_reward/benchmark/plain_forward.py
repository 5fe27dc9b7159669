"""The embedded engine's plain work: the same network, called plainly.

Dimension key: R rows of a decoding batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from transformers import DynamicCache

from mrt_reward.protocols import Prover
from mrt_reward.provers.hf.kv_cache import cache_name
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

    async def decode(self, num_answers: int, num_tokens: int, seed: int) -> None:
        """Batches of rows, a token of each at a time."""
        rng = np.random.default_rng(seed)
        with torch.inference_mode():
            for start in range(0, num_answers, DECODE_ROWS):
                cache = {cache_name(type(self._network)): DynamicCache(config=self._config)}
                ids_R = self._drawn(rng, (min(DECODE_ROWS, num_answers - start), 1))
                for _ in range(num_tokens):
                    logits = self._network(input_ids=ids_R, use_cache=True, **cache).logits
                    ids_R = logits[:, -1:].argmax(dim=-1)
                int(ids_R.sum())

    def _drawn(self, rng: np.random.Generator, shape: tuple[int, int]) -> torch.Tensor:
        ids = rng.integers(0, int(self._config.vocab_size), shape)
        return torch.from_numpy(ids).to(cast("torch.device", self._network.device))  # pyright: ignore[reportUnknownMemberType] - partial
