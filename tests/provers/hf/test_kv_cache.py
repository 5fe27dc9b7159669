"""The three caches, and the attention that reads them, against plain attention over every row's own columns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from mrt_reward.provers.hf.kv_cache import (
    PackedCache,
    PrefillDone,
    PrefixCache,
    TreeCache,
    cache_name,
    shared_prefix_attention,
)

K, D = 2, 4


def states(length: int, seed: int) -> torch.Tensor:
    return torch.randn(1, K, length, D, generator=torch.Generator().manual_seed(seed))


def filled(length: int) -> PrefixCache:
    cache = PrefixCache(num_layers=1)
    with pytest.raises(PrefillDone):
        cache.update(states(length, 1), states(length, 2), 0)
    return cache


class OfOlderReleases(torch.nn.Module):
    def forward(self, input_ids: torch.Tensor, past_key_values: object = None) -> None: ...


def renaming(forward: Callable[..., None]) -> Callable[..., None]:
    """As transformers deprecates a name: what wraps takes anything, and is known by what it wraps."""

    @functools.wraps(forward)
    def wrapped(*args: object, **kwargs: object) -> None:
        return forward(*args, **kwargs)

    return wrapped


class OfNewerReleases(torch.nn.Module):
    @renaming
    def forward(self, input_ids: torch.Tensor, cache: object = None) -> None: ...


def test_a_cache_is_handed_over_by_the_name_that_the_network_has_for_it() -> None:
    assert cache_name(OfOlderReleases) == "past_key_values"
    assert cache_name(OfNewerReleases) == "cache"


def test_a_prefix_grows_by_its_chunks_and_ends_the_pass_at_the_last_layer() -> None:
    cache = PrefixCache(num_layers=2)
    cache.update(states(3, 1), states(3, 2), 0)
    with pytest.raises(PrefillDone):
        cache.update(states(3, 3), states(3, 4), 1)
    keys, values = cache.update(states(2, 5), states(2, 6), 0)
    assert torch.equal(keys, torch.cat([states(3, 1), states(2, 5)], dim=-2))
    assert torch.equal(values, torch.cat([states(3, 2), states(2, 6)], dim=-2))
    assert (cache.get_seq_length(0), cache.get_seq_length(1)) == (5, 3)


def test_a_packed_pass_borrows_the_first_columns_and_leaves_the_prefix_as_it_is() -> None:
    prefix = filled(5)
    packed = PackedCache(prefix, 3, keep=True)
    keys, _ = packed.update(states(2, 7), states(2, 8), 0)
    assert torch.equal(keys, torch.cat([states(5, 1)[:, :, :3], states(2, 7)], dim=-2))
    assert prefix.get_seq_length() == 5
    assert packed.get_seq_length() == 5
    passing = PackedCache(prefix, 3, keep=False)
    passing.update(states(2, 7), states(2, 8), 0)
    assert passing.get_seq_length() == 0


def test_rows_that_sample_read_the_shared_columns_and_their_own_past_only() -> None:
    packed = PackedCache(filled(3), 3, keep=True)
    packed.update(states(2, 7), states(2, 8), 0)
    tree = TreeCache(packed)
    tree.update(states(2, 10), states(2, 11), 0)
    # Row 0 ends; row 1 goes on as three rows.
    parents = torch.tensor([1, 1, 1])
    tree.follow(parents, num_rows=2)
    keys, values = tree.update(states(3, 12), states(3, 13), 0)
    # Four query heads over two key heads; a hidden column tells whether the mask counts.
    query = torch.randn(1, 4, 3, D, generator=torch.Generator().manual_seed(14))
    mask = torch.zeros(1, 1, 3, 5)
    mask[..., 1, 2] = -torch.inf
    module: Any = cast("Any", SimpleNamespace(num_key_value_groups=2, training=False, is_causal=True))
    found, weights = shared_prefix_attention(module, query, keys, values, mask, scaling=0.3)
    assert weights is None
    for row in range(3):
        shared = torch.cat([states(3, 1), states(2, 7)], dim=-2), torch.cat([states(3, 2), states(2, 8)], dim=-2)
        own_keys = torch.cat([shared[0], states(2, 10)[:, :, 1:2], states(3, 12)[:, :, row : row + 1]], dim=-2)
        own_values = torch.cat([shared[1], states(2, 11)[:, :, 1:2], states(3, 13)[:, :, row : row + 1]], dim=-2)
        own_mask = torch.cat([mask[:, :, row : row + 1], torch.zeros(1, 1, 1, 2)], dim=-1)
        expected = torch.nn.functional.scaled_dot_product_attention(
            query[:, :, row : row + 1], own_keys, own_values, own_mask, scale=0.3, enable_gqa=True
        )
        torch.testing.assert_close(found[:, row : row + 1], expected.transpose(1, 2))
