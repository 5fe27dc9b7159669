"""A likelihood from forced answers: which to force at a probe, and how to read what the engine says about them.

Spellings share a tree. Each path from its root to a leaf is forced once; a spelling that is the beginning of another is
read off the longer one's path. A forced answer's step i tells the distribution after i of its tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mrt_reward.errors import ProverError
from mrt_reward.protocols import SpellingIds

MAX_ROUNDING = 1e-4
"""How far above 0 rounding may lift the log-probability of a certain token."""

BROKEN = "broken_logprobs"
"""Code of the error when the engine's numbers cannot be right."""

Step = Mapping[int, float]
"""Log-probabilities of some tokens as the next one."""


@dataclass(frozen=True, slots=True)
class ForcedPath:
    """One answer to force.

    Attributes:
        ids: its tokens.
        watched: tokens whose log-probability is wanted at every step, besides the forced one's.
        spellings: indices of the spellings that are read off it.

    """

    ids: tuple[int, ...]
    watched: tuple[int, ...]
    spellings: tuple[int, ...]


def forced_paths(spellings: Sequence[SpellingIds]) -> tuple[ForcedPath, ...]:
    """The fewest answers whose steps tell all spellings, longest first."""
    leaves: dict[tuple[int, ...], list[int]] = {}
    for index in sorted(range(len(spellings)), key=lambda index: -len(spellings[index].ids)):
        ids = spellings[index].ids
        longer = next((leaf for leaf in leaves if leaf[: len(ids)] == ids), ids)
        leaves.setdefault(longer, []).append(index)
    return tuple(
        ForcedPath(ids, tuple(sorted({token for index in read for token in spellings[index].close})), tuple(read))
        for ids, read in leaves.items()
    )


def spelling_logprob(spelling: SpellingIds, steps: Sequence[Step]) -> float:
    """Log p(spelling and its close), at most 0.

    Args:
        spelling: a beginning of the forced answer.
        steps: one for each forced token, and one for what follows the last.

    Raises:
        ProverError: a step is missing, or holds no number for a token that it was asked about.

    """
    size = len(spelling.ids)
    if len(steps) <= size:
        raise ProverError(f"the engine gave {len(steps)} steps of a forced answer, expected {size + 1}", code=BROKEN)
    total = sum(_logprob(step, token) for step, token in zip(steps, spelling.ids, strict=False))
    closes = [_logprob(steps[size], token) for token in spelling.close]
    highest = max(closes)
    if math.isinf(highest):
        return -math.inf
    return min(0.0, total + highest + math.log(sum(math.exp(close - highest) for close in closes)))


def _logprob(step: Step, token: int) -> float:
    value = step.get(token)
    # NaN fails every comparison.
    if value is None or not value <= MAX_ROUNDING:
        raise ProverError(
            f"expected a log-probability of token {token}, the engine gave {value}: check its weights, or use a wider "
            f"dtype",
            code=BROKEN,
        )
    return value
