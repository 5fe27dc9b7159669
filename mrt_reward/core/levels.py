"""A prior of values along a trace, on a grid of levels of J: where J starts, how it moves, what coupled answers repeat.

The levels are J = sin² φ at the middles of cells of equal width in φ, so they are finest where rates are surest.

Dimension key: G levels of J · B = G + 1 bounds of their cells · D = G² differences of two levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mrt_reward.options import PathPrior

Floats = NDArray[np.float64]
Pairs = tuple[int, int, int, int]
"""Answers m of two neighbours: right twice, lost, gained, wrong twice."""

NUM_LEVELS = 64

NO_PAIRS: Pairs = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Moved:
    """Probabilities of moves together with pairs of answers, divided by e^log_scale."""

    still_GG: Floats
    move_GG: Floats
    log_scale: float


@dataclass(frozen=True, slots=True)
class Levels:
    """A prior on the grid.

    Attributes:
        level_G: J of each level.
        bound_B: J at the G + 1 bounds of their cells, 0 and 1 included.
        start_G: probability of each level at the start and after a jump.
        still_GG: of each level (second axis) after an episode, and of not having jumped.
        move_GG: of each level after an episode.
        log_pair_4GG: logarithm of the probability of the second of a pair, given the first and both levels.
        difference_D: second level minus first, ascending.
        order_D: what sorts them.

    """

    level_G: Floats
    bound_B: Floats
    start_G: Floats
    still_GG: Floats
    move_GG: Floats
    log_pair_4GG: Floats
    difference_D: Floats
    order_D: NDArray[np.intp]

    def moved(self, pairs: Pairs) -> Moved:
        """What pairs of answers leave of each move."""
        if pairs == NO_PAIRS:
            return Moved(self.still_GG, self.move_GG, 0.0)
        log_GG = np.tensordot(np.array(pairs, np.float64), self.log_pair_4GG, 1)
        scale = float(log_GG.max())
        factor_GG = np.exp(log_GG - scale)
        return Moved(self.still_GG * factor_GG, self.move_GG * factor_GG, scale)


@lru_cache(maxsize=64)
def levels_of(prior: PathPrior) -> Levels:
    """The prior on the grid; each is made once."""
    bound_B = np.sin(np.linspace(0, math.pi / 2, NUM_LEVELS + 1)) ** 2
    bound_B[-1] = 1.0
    middle_G = (np.arange(NUM_LEVELS) + 0.5) / NUM_LEVELS
    level_G = np.sin(math.pi / 2 * middle_G) ** 2
    # By the angle the density of Beta(a, b) is that by J times dJ/dφ = 2 √(J (1 - J)).
    log_start_G = (prior.a - 0.5) * np.log(level_G) + (prior.b - 0.5) * np.log1p(-level_G)
    start_G = np.exp(log_start_G - log_start_G.max())
    start_G /= start_G.sum()
    still_GG = (1 - prior.change) * _drift(middle_G, prior.drift)
    difference_GG = level_G[None, :] - level_G[:, None]
    order_D = np.argsort(difference_GG, axis=None, kind="stable")
    return Levels(
        level_G,
        bound_B,
        start_G,
        still_GG,
        still_GG + prior.change * start_G,
        _log_pairs(level_G, prior.coupling),
        difference_GG.ravel()[order_D],
        order_D,
    )


def _drift(middle_G: Floats, drift: float) -> Floats:
    """Law of the level after a small move: normal in the angle, and what would leave it is reflected."""
    if drift == 0:
        return np.eye(middle_G.size)
    images = (middle_G, -middle_G, 2 - middle_G)
    law_GG = sum(np.exp(-0.5 * (np.subtract.outer(middle_G, image_G) / drift) ** 2) for image_G in images)
    law_GG = np.asarray(law_GG, np.float64)
    return law_GG / law_GG.sum(axis=1, keepdims=True)


def _log_pairs(level_G: Floats, coupling: float) -> Floats:
    """Logarithm of the probability of the second of a pair given the first, for each two levels.

        p(right after right) = c·min(J, J') / J + (1 - c)·J'
        p(right after wrong) = c·max(0, J' - J) / (1 - J) + (1 - c)·J'

    On the average over the first, both come to J'.
    """
    before_GG, after_GG = np.meshgrid(level_G, level_G, indexing="ij")
    alone_GG = (1 - coupling) * after_GG
    kept_GG = coupling * np.minimum(before_GG, after_GG) / before_GG + alone_GG
    gained_GG = coupling * np.maximum(0, after_GG - before_GG) / (1 - before_GG) + alone_GG
    return np.log([kept_GG, 1 - kept_GG, gained_GG, 1 - gained_GG])
