"""What the answers of one packed row read while they grow: the trace's columns, the suffix of their probe, their own.

Rows of neighbouring probes read the trace together, as far as the longest of their cuts, which is one product of
matrices instead of many; columns behind a shorter cut are hidden. Nothing here depends on what else is decoded.

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
"""Rows that read the trace together on a CPU: fewer make small products, more read much that is hidden from them."""


@dataclass(frozen=True, slots=True)
class _Block:
    """Neighbouring probes, whose rows read together.

    Attributes:
        probes: indices of the probes in the proof.
        columns: of each layer, keys (K, D, N) and values (K, N, D) of what they share, in one piece or two: the trace
            up to the longest cut, and the suffixes.
        first_hidden: the first of these columns that is hidden from one of them.
        mask_PN: additive, from that column on; None where nothing is hidden.

    """

    probes: range
    columns: list[list[KeyValue]]
    first_hidden: int
    mask_PN: Tensor | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """The live rows of a block, and what is hidden from each; see `_Block`."""

    block: _Block
    rows: slice
    mask_RN: Tensor | None


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
        chunks = _chunks(len(row.probes), together)
        self._blocks = [_block(row, chunk, prefix, packed) for chunk in chunks]
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
        own_RKGT = query_RKGD @ own_keys.transpose(-1, -2)
        read = [self._read(layer, each, query_RKGD[each.rows], own_RKGT[each.rows]) for each in self._readings]
        output_RKGD, weight_RKGT = read[0] if len(read) == 1 else (torch.cat(each) for each in zip(*read, strict=True))
        return (output_RKGD + weight_RKGT @ own_values).flatten(1, 2)

    def _read(self, layer: int, reading: _Reading, query_RKGD: Tensor, own_RKGT: Tensor) -> tuple[Tensor, Tensor]:
        """What a block's rows read of what they share, and the weights of their own columns."""
        num_rows, num_own = len(query_RKGD), own_RKGT.shape[-1]
        query, own = _by_head(query_RKGD), _by_head(own_RKGT)
        columns = reading.block.columns[layer]
        scores = torch.cat([*(query @ keys for keys, _ in columns), own], dim=-1)
        if reading.mask_RN is not None:
            hidden = scores.view(len(scores), num_rows, -1, scores.shape[-1])[
                ..., reading.block.first_hidden : -num_own
            ]
            hidden += reading.mask_RN[:, None]
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        output = query.new_zeros((*query.shape[:2], columns[0][1].shape[-1]))
        start = 0
        for _, values in columns:
            output += weights[..., start : start + values.shape[1]] @ values
            start += values.shape[1]
        return _by_row(output, num_rows), _by_row(weights[..., -num_own:], num_rows)

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


def _block(row: PackedRow, probes: range, prefix: PrefixCache, packed: PackedCache) -> _Block:
    """Neighbouring probes of a packed row."""
    ends = row.logit_rows[probes.start : probes.stop]
    suffixes = slice(int(row.logit_rows[probes.start - 1]) + 1 if probes.start else 0, int(ends[-1]) + 1)
    on_trace, on_suffixes = np.split(row.visible[ends], [row.num_shared], axis=1)
    num_shared = int(np.flatnonzero(on_trace.any(axis=0))[-1]) + 1
    columns = [
        [
            (shared[0][0, :, :num_shared].transpose(1, 2), shared[1][0, :, :num_shared]),
            (own[0][0, :, suffixes].transpose(1, 2), own[1][0, :, suffixes]),
        ]
        for shared, own in zip(prefix.stored, packed.stored, strict=True)
    ]
    if len(probes) == len(row.probes):
        # Nothing else reads them from here on: in one piece they are read faster.
        columns = [[(torch.cat([a[0], b[0]], dim=-1), torch.cat([a[1], b[1]], dim=-2))] for a, b in columns]
    visible = np.concatenate([on_trace[:, :num_shared], on_suffixes[:, suffixes]], axis=1)
    hidden = np.flatnonzero(~visible.all(axis=0))
    if not len(hidden):
        return _Block(probes, columns, visible.shape[1], None)
    first, like = int(hidden[0]), columns[0][0][0]
    seen = torch.from_numpy(visible[:, first:]).to(like.device)  # pyright: ignore[reportUnknownMemberType] - partial
    mask_PN = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, -torch.inf)
    return _Block(probes, columns, first, mask_PN)
