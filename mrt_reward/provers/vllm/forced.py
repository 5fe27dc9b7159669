"""A likelihood from forced answers: which to force at a probe, and how to look up what the engine says about them.

Spellings share a tree. Each path from its root to a leaf is forced once; a spelling that is the beginning of another is
read off the longer one's path. A forced answer's step i tells the distribution after i of its tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.errors import ProverError
from mrt_reward.provers.likelihood import BROKEN, ROOT, Lookup, SpellingTree

Step = Mapping[int, float]
"""Log-probabilities of some tokens as the next one."""


@dataclass(frozen=True, slots=True)
class ForcedPath:
    """One answer to force.

    Attributes:
        ids: tokens of the forced answer.
        watched: tokens whose log-probability is wanted at every step, besides the forced one's.
        nodes: of the spellings' tree, one for each token.

    """

    ids: tuple[int, ...]
    watched: tuple[int, ...]
    nodes: tuple[int, ...]


def forced_paths(tree: SpellingTree) -> tuple[ForcedPath, ...]:
    """The fewest answers whose steps tell all spellings, longest first."""
    leaves = set(range(len(tree.tokens))) - set(tree.parents)
    watched: dict[tuple[int, ...], set[int]] = {
        path: set() for path in sorted(tree.paths, key=len, reverse=True) if path[-1] in leaves
    }
    for path, close in zip(tree.paths, tree.closes, strict=True):
        over = next(longer for longer in watched if longer[: len(path)] == path)
        watched[over].update(close)
    return tuple(
        ForcedPath(tuple(tree.tokens[node] for node in path), tuple(sorted(tokens)), path)
        for path, tokens in watched.items()
    )


def steps_lookup(steps_of: Iterable[tuple[ForcedPath, Sequence[Step]]]) -> Lookup:
    """Looks a token up in the steps of one probe's forced answers; what they do not hold is NaN.

    Raises:
        ProverError: an answer has fewer steps than one for each forced token and one for what follows the last.

    """
    step_of: dict[int, dict[int, float]] = {}
    for path, steps in steps_of:
        if len(steps) <= len(path.ids):
            raise ProverError(
                f"the engine gave {len(steps)} steps of a forced answer, expected {len(path.ids) + 1}", code=BROKEN
            )
        for node, step in zip((ROOT, *path.nodes), steps, strict=False):
            step_of.setdefault(node, {}).update(step)

    def lookup(node: int, tokens: Sequence[int]) -> NDArray[np.float64]:
        return np.array([step_of[node].get(token, math.nan) for token in tokens])

    return lookup
