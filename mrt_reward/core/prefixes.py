"""From episodes in characters to prefixes in tokens.

Dimension key: T tokens of the thinking · K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.episodes import Thinking
from mrt_reward.types import Episode, Span


@dataclass(frozen=True, slots=True)
class PrefixPlan:
    """The prefixes `z[:0] … z[:K]` as slices of the thinking's tokens.

    Attributes:
        cuts: P lengths in tokens, increasing, the first 0.
        natural_end: whether `z[:K]` was closed by the model itself.
        midline: for each prefix, whether it ends within a line, so that a terminator needs a blank line before it.

    """

    cuts: tuple[int, ...]
    natural_end: bool
    midline: tuple[bool, ...]


def align(spans: Sequence[Span], char_ends_T: NDArray[np.int32], *, token_offset: int = 0) -> tuple[Episode, ...]:
    """Move episode boundaries to token boundaries: a cut inside a token moves to the end of that token.

    Args:
        spans: partition of the thinking, in characters of the completion.
        char_ends_T: where each token is complete, in characters of the completion; not decreasing.
        token_offset: number of the completion's tokens before the thinking.

    Returns:
        Episodes with the moved spans, without progress. They partition the same thinking; one that lies within a single
        token of its predecessor is swallowed by it.

    """
    if not spans or not len(char_ends_T):
        return ()
    token_ends_K = _token_cuts([span.end for span in spans], char_ends_T)
    token_ends_K[-1] = len(char_ends_T)
    # Ends do not decrease, so that each distinct one is an episode, and an episode that is swallowed repeats one.
    token_ends_K = np.unique(token_ends_K)
    token_bounds = [0, *token_ends_K.tolist()]
    char_bounds = [spans[0].start, *char_ends_T[token_ends_K - 1].tolist()]
    return tuple(
        Episode(char_start, char_end, token_start + token_offset, token_end + token_offset)
        for (char_start, char_end), (token_start, token_end) in zip(
            pairwise(char_bounds), pairwise(token_bounds), strict=True
        )
    )


def _token_cuts(chars: Sequence[int], char_ends_T: NDArray[np.int32]) -> NDArray[np.intp]:
    """For each cut in characters, how many tokens lie before it: a token that holds the cut is one of them."""
    if not len(char_ends_T):
        return np.zeros(len(chars), np.intp)
    past = int(char_ends_T[-1]) + 1
    # As an array, because searching for a Python integer copies all ends, each time.
    wanted = np.array([min(char, past) for char in chars], np.int64)
    # Tokens that complete nothing after the cut are the first bytes of the next character, and stay with it.
    return np.minimum(np.searchsorted(char_ends_T, wanted, side="left") + 1, len(char_ends_T))


def token_spans(spans_K: Sequence[Span], ends_T: NDArray[np.int32]) -> list[Span]:
    """Episodes in tokens of the caller: a cut inside a token moves to the end of that token, as for the prover's.

    Args:
        spans_K: in characters of the completion.
        ends_T: for each token, the characters that are complete once it is there; not decreasing.

    Returns:
        One span for each episode; one that lies within its predecessor's last token is empty.

    """
    chars = [char for span in spans_K for char in (span.start, span.end)]
    cuts = [cut if char else 0 for char, cut in zip(chars, _token_cuts(chars, ends_T).tolist(), strict=True)]
    return [Span(start, end) for start, end in zip(cuts[::2], cuts[1::2], strict=True)]


def plan_prefixes(completion: str, thinking: Thinking, episodes: Sequence[Episode]) -> PrefixPlan:
    """Cut the thinking's tokens after each episode.

    Thinking that is closed but empty, or only white space, has one prefix: `z[:0]` is also `z[:K]`. It is planned as
    the former: the terminator is the forced one, although `natural_end` says that the model closed it.
    """
    offset = episodes[0].token_start if episodes else 0
    return PrefixPlan(
        cuts=(0, *(episode.token_end - offset for episode in episodes)),
        natural_end=thinking.closed,
        midline=(False, *(not completion.endswith("\n", 0, episode.char_end) for episode in episodes)),
    )
