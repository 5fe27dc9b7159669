"""What the answers of one packed row read while they grow: the trace's columns, the suffix of their probe, their own.

All rows read the trace together, some columns at a time: those of the shortest cuts first, and then what longer cuts
see beyond, by their rows alone. So each column is fetched once a step, for a product of as many rows as see it; within
a block of neighbouring probes, columns behind a shorter cut are hidden. Nothing here depends on what else is decoded.

Dimension key: P probes of a block · R live rows · H query heads · K key heads · G = H / K · N columns · T own columns ·
D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.provers.hf.kv_cache import KeyValue, PackedCache, PrefixCache
from mrt_reward.provers.hf.packing import PackedRow

MIN_ROOM = 16
"""Own columns of a row that there is room for at first."""

ROWS_TOGETHER = 32
"""Rows of a block on a CPU: fewer make more products, more read much that is hidden from them."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Neighbouring probes, whose rows read together.

    Attributes:
        probes: their indices.
        num_trace: columns of the trace up to the longest cut here and before.
        suffixes: of each layer, keys (K, D, S) and values (K, S, D).
        first_hidden: the first of the trace's columns and the suffixes' that is hidden from one of them.
        mask_PN: additive, from that column on; None where nothing is hidden.

    """

    probes: range
    num_trace: int
    suffixes: list[KeyValue]
    first_hidden: int
    mask_PN: Tensor | None

    @property
    def num_shared(self) -> int:
        """Columns before a row's own."""
        return self.num_trace + self.suffixes[0][1].shape[1]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The live rows of a block, and what is hidden from each; see `_Block`."""

    block: _Block
    rows: slice
    mask_RN: Tensor | None

    def of(self, group: int) -> slice:
        """The rows where each has so many heads."""
        return slice(self.rows.start * group, self.rows.stop * group)


class Branches:
    """Keys and values of the live rows of one packed row, which branch and end.

    Args:
        prefix: columns of the trace.
        row: what was packed after it.
        packed: its columns, kept.
        num_samples: most rows of a probe.

    """

    def __init__(self, prefix: PrefixCache, row: PackedRow, packed: PackedCache, num_samples: int) -> None:
        self._device = packed.stored[0][0].device
        together = len(row.probes) if self._device.type == "cuda" else max(1, ROWS_TOGETHER // num_samples)
        self._trace = [(keys[0].transpose(1, 2), values[0]) for keys, values in prefix.stored]
        self._blocks: list[_Block] = []
        for chunk in _chunks(len(row.probes), together):
            before = self._blocks[-1].num_trace if self._blocks else 0
            self._blocks.append(_block(row, chunk, before, packed))
        self._num_packed = len(row.ids)
        self._own: list[KeyValue] = []
        self._num_own = self._room = 0
        self._readings: list[_Reading] = []
        self._num_rows = 0

    def num_tokens(self, num_rows: int) -> int:
        """Columns that there is room for once so many rows have taken one step more."""
        return self._num_packed + num_rows * _room_for(self._num_own + 1)

    def follow(self, parents: Sequence[int], probe_R: NDArray[np.int64]) -> None:
        """Begin a step, whose rows continue these rows of the last one: some end, some branch.

        Args:
            parents: for each new row the index of the row it continues.
            probe_R: the probe of each new row, ascending.

        """
        stay = len(parents) == self._num_rows and list(parents) == list(range(len(parents)))
        if not stay:
            self._readings = list(self._by_block(probe_R))
            self._num_rows = len(parents)
        room = _room_for(self._num_own + 1)
        if self._own and (room > self._room or not stay):
            index = torch.tensor(parents, device=self._device)
            self._own = [
                (self._moved(keys, index, room), self._moved(values, index, room)) for keys, values in self._own
            ]
        self._room = room
        self._num_own += 1

    def append(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keep the step's column of each row, both (K, R, D)."""
        if layer == len(self._own):
            num_key_heads, num_rows, size = keys.shape
            shape = (num_rows, num_key_heads, self._room, size)
            self._own.append((keys.new_empty(shape), values.new_empty((*shape[:3], values.shape[-1]))))
        own_keys, own_values = self._own[layer]
        own_keys[:, :, self._num_own - 1] = keys.transpose(0, 1)
        own_values[:, :, self._num_own - 1] = values.transpose(0, 1)

    def attend(self, layer: int, query_RHD: Tensor) -> Tensor:
        """What the rows read, (R, H, D), for their scaled queries."""
        own_keys, own_values = (states[:, :, : self._num_own] for states in self._own[layer])
        query_RKGD = query_RHD.reshape(len(query_RHD), own_keys.shape[1], -1, query_RHD.shape[-1])
        query, own = _by_head(query_RKGD), _by_head(query_RKGD @ own_keys.transpose(-1, -2))
        weights = self._weights(layer, query, own)
        output = query.new_zeros((*query.shape[:2], own_values.shape[-1]))
        values = self._trace[layer][1]
        for rows, columns in self._tiles(query_RKGD.shape[2]):
            output[:, rows].baddbmm_(weights[:, rows, columns], values[:, columns])
        for each in self._readings:
            rows, num_trace, num_shared = each.of(query_RKGD.shape[2]), each.block.num_trace, each.block.num_shared
            output[:, rows].baddbmm_(weights[:, rows, num_trace:num_shared], each.block.suffixes[layer][1])
            own[:, rows] = weights[:, rows, num_shared : num_shared + self._num_own]
        return (_by_row(output, len(query_RHD)) + _by_row(own, len(query_RHD)) @ own_values).flatten(1, 2)

    def _weights(self, layer: int, query: Tensor, own: Tensor) -> Tensor:
        """What each row gives to the trace's columns, its suffix's and its own; what is behind these means nothing.

        Args:
            layer: of the network.
            query: (K, R · G, D).
            own: scores of own columns, (K, R · G, T).

        """
        group = query.shape[1] // self._num_rows
        widest = max(each.block.num_shared for each in self._readings) + self._num_own
        scores = query.new_empty((*query.shape[:2], widest))
        keys = self._trace[layer][0]
        for rows, columns in self._tiles(group):
            torch.bmm(query[:, rows], keys[..., columns], out=scores[:, rows, columns])
        for each in self._readings:
            block, rows = each.block, each.of(group)
            mine = scores[:, rows, : block.num_shared + self._num_own]
            torch.bmm(query[:, rows], block.suffixes[layer][0], out=mine[..., block.num_trace : block.num_shared])
            mine[..., block.num_shared :] = own[:, rows]
            if each.mask_RN is not None:
                mask = each.mask_RN.repeat_interleave(group, dim=0)
                mine[..., block.first_hidden : block.num_shared] += mask
            mine.copy_(mine.softmax(dim=-1, dtype=torch.float32))
        return scores

    def _tiles(self, group: int) -> Iterator[tuple[slice, slice]]:
        """Columns of the trace that are read by the same rows, which are all from some row on."""
        start = 0
        for each in self._readings:
            if each.block.num_trace > start:
                yield slice(each.rows.start * group, None), slice(start, each.block.num_trace)
                start = each.block.num_trace

    def _by_block(self, probe_R: NDArray[np.int64]) -> Iterator[_Reading]:
        for block in self._blocks:
            start, stop = np.searchsorted(probe_R, [block.probes.start, block.probes.stop]).tolist()
            if start == stop:
                continue
            mask_RN = None
            if block.mask_PN is not None:
                mask_RN = block.mask_PN[torch.from_numpy(probe_R[start:stop] - block.probes.start).to(self._device)]  # pyright: ignore[reportUnknownMemberType] - partial
            yield _Reading(block, slice(start, stop), mask_RN)

    def _moved(self, states: Tensor, index: Tensor, room: int) -> Tensor:
        """The own columns of these rows, with room for more."""
        moved = states.new_empty((len(index), states.shape[1], room, states.shape[-1]))
        moved[:, :, : self._num_own] = states[:, :, : self._num_own].index_select(0, index)
        return moved


def _by_head(states_RKGD: Tensor) -> Tensor:
    """(K, R · G, D)."""
    return states_RKGD.transpose(0, 1).flatten(1, 2)


def _by_row(states: Tensor, num_rows: int) -> Tensor:
    """(R, K, G, D) of (K, R · G, D)."""
    return states.reshape(len(states), num_rows, -1, states.shape[-1]).transpose(0, 1)


def _room_for(num_columns: int) -> int:
    """Columns to make room for, a quarter more at a time, so that a step seldom copies."""
    room = MIN_ROOM
    while room < num_columns:
        room += max(MIN_ROOM, room // 4)
    return room


def _chunks(num_probes: int, size: int) -> Iterator[range]:
    return (range(start, min(start + size, num_probes)) for start in range(0, num_probes, size))


def _block(row: PackedRow, probes: range, before: int, packed: PackedCache) -> _Block:
    """Neighbouring probes of a packed row, whose rows read at least as much of the trace as the block before."""
    ends = row.logit_rows[probes.start : probes.stop]
    suffixes = slice(int(row.logit_rows[probes.start - 1]) + 1 if probes.start else 0, int(ends[-1]) + 1)
    on_trace, on_suffixes = np.split(row.visible[ends], [row.num_shared], axis=1)
    num_trace = max(before, int(np.flatnonzero(on_trace.any(axis=0))[-1]) + 1)
    own = [(keys[0, :, suffixes].transpose(1, 2), values[0, :, suffixes]) for keys, values in packed.stored]
    visible = np.concatenate([on_trace[:, :num_trace], on_suffixes[:, suffixes]], axis=1)
    hidden = np.flatnonzero(~visible.all(axis=0))
    if not len(hidden):
        return _Block(probes, num_trace, own, visible.shape[1], None)
    first, like = int(hidden[0]), own[0][0]
    seen = torch.from_numpy(visible[:, first:]).to(like.device)  # pyright: ignore[reportUnknownMemberType] - partial
    mask_PN = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, -torch.inf)
    return _Block(probes, num_trace, own, first, mask_PN)
