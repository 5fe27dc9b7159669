"""Log p(spelling, close): the spellings of an answer as a tree, and their probabilities from those of its tokens.

Engines differ only in how they look up the log-probability of a token after a node of the tree.

Dimension key: S spellings · T tokens · P probes, or nothing where one probe is read at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.values import LOG_SLACK
from mrt_reward.errors import ProverError
from mrt_reward.protocols import SpellingIds

BROKEN = "broken_logprobs"
"""Code of the error when an engine's numbers cannot be right."""

ROOT = -1
"""The node before all others: the end of the probe's suffix."""

Lookup = Callable[[int, Sequence[int]], NDArray[np.float64]]
"""Log-probabilities, shape (..., T), of T tokens as the next one after a node."""


@dataclass(frozen=True, slots=True)
class SpellingTree:
    """The spellings' tokens with common beginnings merged; a node is one token after one beginning.

    Attributes:
        tokens: of the nodes.
        parents: the node before each; `ROOT` is the suffix's end. A parent comes before its children.
        paths: for each spelling its nodes, first to last.
        closes: for each spelling the tokens that may close it.

    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]
    closes: tuple[tuple[int, ...], ...]

    def wanted(self) -> dict[int, tuple[int, ...]]:
        """For each node, `ROOT` first, the tokens after it whose probability the likelihood needs."""
        wanted: dict[int, dict[int, None]] = {node: {} for node in range(ROOT, len(self.tokens))}
        for token, parent in zip(self.tokens, self.parents, strict=True):
            wanted[parent][token] = None
        for path, close in zip(self.paths, self.closes, strict=True):
            wanted[path[-1]].update(dict.fromkeys(close))
        return {node: tuple(tokens) for node, tokens in wanted.items()}

    def beginning(self, node: int) -> tuple[int, ...]:
        """The tokens from the root up to this node, its own included."""
        ids: list[int] = []
        while node != ROOT:
            ids.append(self.tokens[node])
            node = self.parents[node]
        return tuple(reversed(ids))


NO_SPELLINGS = SpellingTree((), (), (), ())


def spelling_tree(spellings: Sequence[SpellingIds]) -> SpellingTree:
    """The tree of the spellings' ids. Spellings that are equal share all their nodes."""
    node_of: dict[tuple[int, int], int] = {}
    paths: list[tuple[int, ...]] = []
    for spelling in spellings:
        parent, path = ROOT, list[int]()
        for token in spelling.ids:
            parent = node_of.setdefault((parent, token), len(node_of))
            path.append(parent)
        paths.append(tuple(path))
    # Insertion order is node order, so that a parent always comes before its children.
    return SpellingTree(
        tuple(token for _, token in node_of),
        tuple(parent for parent, _ in node_of),
        tuple(paths),
        tuple(spelling.close for spelling in spellings),
    )


def spelling_logprobs(tree: SpellingTree, lookup: Lookup) -> NDArray[np.float64]:
    """Log-probability that a spelling is written and then closed by any of its closing tokens.

        log p(s, close) = Σ_i log p(s[i] | s[:i]) + log Σ_c p(c | s)

    Returns:
        Shape (..., S), at most 0; -inf is a probability of 0.

    Raises:
        ProverError: a number that was looked up is no log-probability.

    """

    def checked(node: int, tokens: Sequence[int]) -> NDArray[np.float64]:
        logprobs = lookup(node, tokens)
        wrong = ~(logprobs <= LOG_SLACK)  # NaN fails every comparison
        if wrong.any():
            first = tuple(np.argwhere(wrong)[0])
            raise ProverError(
                f"expected a log-probability of token {tokens[first[-1]]}, at most 0, the engine gave "
                f"{logprobs[first]}: check its weights, or use a wider dtype",
                code=BROKEN,
            )
        return logprobs

    after = {
        node: checked(parent, [token])[..., 0]
        for node, (token, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True))
    }
    closed = [
        sum((after[node] for node in path), np.zeros(())) + np.logaddexp.reduce(checked(path[-1], close), axis=-1)
        for path, close in zip(tree.paths, tree.closes, strict=True)
    ]
    return np.minimum(np.stack(closed, axis=-1), 0.0)
