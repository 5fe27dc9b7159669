"""What rows read while they grow, against plain attention over each row's own columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mrt_reward.protocols import Probe
from mrt_reward.provers.hf.branches import MIN_ROOM, Branches
from mrt_reward.provers.hf.kv_cache import PackedCache, PrefillDone, PrefixCache
from mrt_reward.provers.hf.packing import PackedRow, pack
from mrt_reward.provers.likelihood import NO_SPELLINGS

K, G, D, NUM_TRACE = 2, 2, 4, 9
PROBES = (Probe(3, (1, 2)), Probe(6, (1, 2, 3)), Probe(9, (1,)))


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Reference:
    """Every row with all of its columns, by itself."""

    def __init__(self, prefix: PrefixCache, row: PackedRow, packed: PackedCache) -> None:
        self.columns: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
        shared = [(prefix.stored[0][part][0], packed.stored[0][part][0]) for part in (0, 1)]
        keys, values = (torch.cat(each, dim=1) for each in shared)
        for end in row.logit_rows:
            seen = np.flatnonzero(row.visible[end])
            self.columns.append([(keys[:, column], values[:, column]) for column in seen])

    def follow(self, parents: Sequence[int]) -> None:
        self.columns = [list(self.columns[parent]) for parent in parents]

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        for number, columns in enumerate(self.columns):
            columns.append((keys[:, number], values[:, number]))

    def attend(self, query_RHD: torch.Tensor) -> torch.Tensor:
        rows: list[torch.Tensor] = []
        for query_HD, columns in zip(query_RHD, self.columns, strict=True):
            keys, values = (torch.stack(each, dim=1) for each in zip(*columns, strict=True))
            rows.append(
                torch.nn.functional.scaled_dot_product_attention(
                    query_HD[None, :, None], keys[None], values[None], scale=1.0, enable_gqa=True
                )[0, :, 0]
            )
        return torch.stack(rows)


def opened(num_samples: int) -> tuple[Branches, Reference]:
    prefix = PrefixCache(num_layers=1, num_tokens=NUM_TRACE)
    with pytest.raises(PrefillDone):
        prefix.update(drawn(1, 1, K, NUM_TRACE, D), drawn(2, 1, K, NUM_TRACE, D), 0)
    [row] = pack(PROBES, NO_SPELLINGS, 10)
    packed = PackedCache(prefix, row.num_shared, keep=True)
    packed.update(drawn(3, 1, K, len(row.ids), D), drawn(4, 1, K, len(row.ids), D), 0)
    return Branches(prefix, row, packed, num_samples), Reference(prefix, row, packed)


@pytest.mark.parametrize("num_samples", [1, 16, 64])
def test_rows_read_their_cut_their_suffix_and_their_own_past_only(num_samples: int) -> None:
    # Of 32 rows together: all three probes in a block, two and one, each by itself.
    found, expected = opened(num_samples)
    steps: list[tuple[list[int], list[int]]] = [
        ([0, 1, 2], [0, 1, 2]),
        # The first probe branches, the second goes on, the third ends.
        ([0, 0, 1], [0, 0, 1]),
        ([0, 1, 2], [0, 0, 1]),
        ([1, 1, 2], [0, 0, 1]),
        # Only the second is left.
        ([2], [1]),
        *[([0], [1])] * (2 * MIN_ROOM),
    ]
    for number, (parents, probes) in enumerate(steps):
        found.follow(parents, np.array(probes))
        expected.follow(parents)
        keys, values = drawn(100 + number, K, len(parents), D), drawn(200 + number, K, len(parents), D)
        found.append(0, keys, values)
        expected.append(keys, values)
        query = drawn(300 + number, len(parents), K * G, D)
        torch.testing.assert_close(found.attend(0, query), expected.attend(query))


def test_room_is_counted_with_the_packed_columns_and_grows_seldom() -> None:
    found, _ = opened(1)
    num_packed = sum(len(probe.suffix) for probe in PROBES)
    assert found.num_tokens(3) == num_packed + 3 * MIN_ROOM
    copies = 0
    room = found.num_tokens(1)
    for _ in range(300):
        found.follow([0], np.array([0]))
        found.append(0, drawn(1, K, 1, D), drawn(2, K, 1, D))
        copies += found.num_tokens(1) != room
        room = found.num_tokens(1)
    assert 300 < room - num_packed <= 300 * 1.25 + MIN_ROOM
    assert copies < 12
