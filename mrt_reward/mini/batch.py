"""Rows of training text, padded to one tensor each.

Dimension key: B rows, T tokens, L trained positions of all rows, C next tokens of a position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mrt_reward.mini.packing import Row


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


def collate(rows: list[Row]) -> Batch:
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
        torch.from_numpy(np.concatenate([row.target_LC for row in rows])),
        torch.from_numpy(np.concatenate([row.weight_LC for row in rows])),
    )
