"""Answers in rounds: a few everywhere, then more at the episodes whose progress is least certain, none where it is.

Every round spends half of what is left: it adds a block of answers to some prefixes, by the answers of earlier rounds
alone. An episode's progress needs both of its prefixes, so both get a block, unless one already has more: coupled
answers tell only in pairs.

Dimension key: P = K + 1 prefixes · K episodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mrt_reward.types import Posterior

SETTLED = 0.05
"""Standard deviation of progress from which on no more answers are given."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many answers a trace may get.

    Attributes:
        mean: answers per prefix, on average over the trace; at least 1.
        most: answers of one prefix; at least `mean`.

    """

    mean: float
    most: int

    @property
    def block(self) -> int:
        """Answers that a prefix gets in a round: half of the mean, so that the other half goes where it helps."""
        return max(1, min(self.most, math.floor(self.mean / 2)))

    @property
    def most_blocks(self) -> int:
        """Most blocks of answers of one prefix."""
        return max(1, self.most // self.block)

    def next_round(self, posterior: Posterior, blocks_P: Sequence[int]) -> list[int]:
        """Prefixes that get one more block, those of the least certain episodes first; none where all is done.

        Args:
            posterior: from the answers that are there.
            blocks_P: how many blocks each prefix has.

        """
        left = math.floor(self.mean * len(blocks_P) / self.block) - sum(blocks_P)
        room = min(left, max(2, math.ceil(left / 2)))
        stderr_K = posterior.progress_stderrs
        chosen: set[int] = set()
        for j in sorted(range(len(stderr_K)), key=lambda j: -stderr_K[j]):
            if stderr_K[j] < SETTLED:
                break
            level = min(blocks_P[j], blocks_P[j + 1])
            more = {k for k in (j, j + 1) if blocks_P[k] == level} - chosen
            if level < self.most_blocks and len(chosen) + len(more) <= room:
                chosen |= more
        return sorted(chosen)
