"""What is put in one packed row: all terminated suffixes of a trace, each seeing its own prefix and itself only.

A probe's block in the row is its suffix followed by the tree of the spellings, which share the suffix and their common
beginnings. Every row of a block sees the prefix's first `cut` tokens, the suffix before it and its own ancestors.

Dimension key: P probes of a chunk · B tokens of a block · N shared tokens · Q packed tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.protocols import Probe
from mrt_reward.provers.likelihood import SpellingTree

MAX_MASK_ELEMENTS = 1 << 23
"""Of one packed pass: 32 MB in float32."""

MAX_LOGIT_ELEMENTS = 1 << 25
"""Of one packed pass: 128 MB in float32."""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Blocks of consecutive probes, ready for one pass.

    Attributes:
        probes: indices of the probes in the proof.
        ids: Q tokens.
        positions: Q of them, as in the terminated prefix alone.
        visible: (Q, N + Q), N being the longest cut here.
        logit_rows: for each probe the suffix's last row and then the nodes' rows: P · (1 + nodes) of them.

    """

    probes: range
    ids: NDArray[np.int64]
    positions: NDArray[np.int64]
    visible: NDArray[np.bool_]
    logit_rows: NDArray[np.int64]

    @property
    def num_shared(self) -> int:
        """N, the number of shared tokens."""
        return self.visible.shape[1] - len(self.ids)


def pack(probes: Sequence[Probe], tree: SpellingTree, vocab_size: int) -> Iterator[PackedRow]:
    """Packed rows for all probes, in their order, each small enough for one pass.

    A row holds as many probes as the limits on mask and logits allow, and at least one.
    """
    start = 0
    while start < len(probes):
        end, num_tokens = start, 0
        while end < len(probes):
            num_tokens += len(probes[end].suffix) + len(tree.tokens)
            too_wide = num_tokens * (max(probe.cut for probe in probes[start : end + 1]) + num_tokens)
            num_logits = (end + 1 - start) * (1 + len(tree.tokens)) * vocab_size
            if end > start and (too_wide > MAX_MASK_ELEMENTS or num_logits > MAX_LOGIT_ELEMENTS):
                break
            end += 1
        yield _pack_row(probes, range(start, end), tree)
        start = end


def _pack_row(probes: Sequence[Probe], chunk: range, tree: SpellingTree) -> PackedRow:
    num_shared = max(probes[index].cut for index in chunk)
    num_nodes = len(tree.tokens)
    num_tokens = sum(len(probes[index].suffix) + num_nodes for index in chunk)
    visible = np.zeros((num_tokens, num_shared + num_tokens), np.bool_)
    ids, positions, logit_rows = list[int](), list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    blocks: dict[int, tuple[NDArray[np.bool_], NDArray[np.int64]]] = {}
    for index in chunk:
        probe, start = probes[index], len(ids)
        num_suffix = len(probe.suffix)
        if num_suffix not in blocks:
            blocks[num_suffix] = _block(num_suffix, tree)
        block_visible, block_positions = blocks[num_suffix]
        ids += [*probe.suffix, *tree.tokens]
        visible[start : len(ids), : probe.cut] = True
        visible[start : len(ids), num_shared + start : num_shared + len(ids)] = block_visible
        positions.append(block_positions + probe.cut)
        logit_rows.append(np.arange(start + num_suffix - 1, len(ids)))
    return PackedRow(chunk, np.array(ids), np.concatenate(positions), visible, np.concatenate(logit_rows))


def _block(num_suffix: int, tree: SpellingTree) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Who sees whom within a block, shape (B, B), and positions after the cut."""
    size = num_suffix + len(tree.tokens)
    visible = np.zeros((size, size), np.bool_)
    visible[:num_suffix, :num_suffix] = np.tri(num_suffix, dtype=np.bool_)
    for node, parent in enumerate(tree.parents):
        # The suffix's last row has seen all of the suffix, so it serves as the root.
        visible[num_suffix + node] = visible[num_suffix + parent]
        visible[num_suffix + node, num_suffix + node] = True
    return visible, visible.sum(axis=1) - 1
