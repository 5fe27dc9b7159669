"""The three caches, and the attention that reads them, against plain attention over every row's own columns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from mrt_reward.errors import ProverError
from mrt_reward.provers.hf.kv_cache import (
    PackedCache,
    PrefillDone,
    PrefixCache,
    StepCache,
    cache_name,
    shared_prefix_attention,
    stepping,
)

K, D = 2, 4


def states(length: int, seed: int) -> torch.Tensor:
    return torch.randn(1, K, length, D, generator=torch.Generator().manual_seed(seed))


def filled(length: int) -> PrefixCache:
    cache = PrefixCache(num_layers=1, num_tokens=length)
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
    cache = PrefixCache(num_layers=2, num_tokens=5)
    cache.update(states(3, 1), states(3, 2), 0)
    with pytest.raises(PrefillDone):
        cache.update(states(3, 3), states(3, 4), 1)
    keys, values = cache.update(states(2, 5), states(2, 6), 0)
    assert torch.equal(keys, torch.cat([states(3, 1), states(2, 5)], dim=-2))
    assert torch.equal(values, torch.cat([states(3, 2), states(2, 6)], dim=-2))
    assert (cache.get_seq_length(0), cache.get_seq_length(1)) == (5, 3)


def test_a_prefix_has_room_for_all_its_tokens_from_the_start() -> None:
    cache = PrefixCache(num_layers=2, num_tokens=5)
    keys, values = cache.update(states(3, 1), states(3, 2), 0)
    more_keys, more_values = cache.update(states(2, 3), states(2, 4), 0)
    assert (more_keys.data_ptr(), more_values.data_ptr()) == (keys.data_ptr(), values.data_ptr())


def test_a_packed_pass_borrows_the_first_columns_and_leaves_the_prefix_as_it_is() -> None:
    prefix = filled(5)
    packed = PackedCache(prefix, 3, keep=True)
    keys, _ = packed.update(states(2, 7), states(2, 8), 0)
    assert torch.equal(keys, torch.cat([states(5, 1)[:, :, :3], states(2, 7)], dim=-2))
    assert prefix.get_seq_length() == 5
    assert packed.get_seq_length() == 5
    assert torch.equal(packed.stored[0][0], states(2, 7)), "its own columns alone are kept"
    passing = PackedCache(prefix, 3, keep=False)
    passing.update(states(2, 7), states(2, 8), 0)
    assert passing.stored == []


class Remembering:
    """Rows of a step, that read their number."""

    def __init__(self, number: float) -> None:
        self.number = number
        self.kept: list[tuple[int, torch.Size]] = []

    def append(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        assert keys.shape == values.shape
        self.kept.append((layer, keys.shape))

    def attend(self, layer: int, query_RHD: torch.Tensor) -> torch.Tensor:
        return torch.full_like(query_RHD, self.number + layer)


def test_in_a_step_rows_keep_and_read_columns_of_their_own_and_dummies_read_zeros() -> None:
    first, second = Remembering(10), Remembering(20)
    step = StepCache([(first, slice(0, 2)), (second, slice(2, 3))])
    step.update(states(8, 1), states(8, 2), 0)
    assert (first.kept, second.kept) == ([(0, (K, 2, D))], [(0, (K, 1, D))])
    query = torch.ones(1, 4, 8, D)
    module: Any = cast("Any", SimpleNamespace(layer_idx=3))
    with stepping(step):
        found, weights = shared_prefix_attention(module, query, states(8, 1), states(8, 2), None, scaling=0.5)
    assert weights is None
    assert found[0, :, 0, 0].tolist() == [13, 13, 23, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("unusual", [{"softcap": 4.0}, {"s_aux": torch.zeros(4)}])
def test_a_step_refuses_layers_that_want_more_than_scaled_dot_products(unusual: dict[str, Any]) -> None:
    module: Any = cast("Any", SimpleNamespace(layer_idx=0))
    with stepping(StepCache([(Remembering(1), slice(0, 8))])), pytest.raises(ProverError, match="capped scores"):
        shared_prefix_attention(module, torch.ones(1, 4, 8, D), states(8, 1), states(8, 2), None, **unusual)
