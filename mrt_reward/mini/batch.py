"""Rows of training text, padded to one tensor each.

Dimension key: B rows, T tokens, L trained positions of all rows, C next tokens of a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.mini.packing import TrainingRow


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length.

    Attributes:
        id_BT: token ids.
        position_BT: positions.
        visible_B1TT: which token sees which.
        at_L: indices into the B·T tokens, whose next token is trained.
        target_LC: next tokens.
        weight_LC: their weights.

    """

    id_BT: Tensor
    position_BT: Tensor
    visible_B1TT: Tensor
    at_L: Tensor
    target_LC: Tensor
    weight_LC: Tensor


def collate(rows: list[TrainingRow]) -> Batch:
    """Pad rows to the longest of them."""
    width = max(row.id_T.size for row in rows)
    id_BT = np.zeros((len(rows), width), np.int64)
    position_BT = np.zeros((len(rows), width), np.int64)
    visible_B1TT = np.zeros((len(rows), 1, width, width), np.bool_)
    # A padding token sees itself: a softmax over nothing is not a number.
    visible_B1TT[:, 0, range(width), range(width)] = True
    for index, row in enumerate(rows):
        size = row.id_T.size
        id_BT[index, :size] = row.id_T
        position_BT[index, :size] = row.position_T
        visible_B1TT[index, 0, :size, :size] = row.visible()
    return Batch(
        torch.from_numpy(id_BT),
        torch.from_numpy(position_BT),
        torch.from_numpy(visible_B1TT),
        torch.from_numpy(np.concatenate([row.at_L + index * width for index, row in enumerate(rows)])),
        torch.from_numpy(_stacked([row.target_LC for row in rows])),
        torch.from_numpy(_stacked([row.weight_LC for row in rows])),
    )


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays `LC` one under the other, zeros where others are wider."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])
