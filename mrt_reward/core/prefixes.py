"""From episodes in characters to prefixes in tokens.

Dimension key: T tokens of the thinking · K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    episodes: list[Episode] = []
    char_start, token_start = (spans[0].start if spans else 0), 0
    for index, span in enumerate(spans):
        # Tokens that complete nothing after the cut are the first bytes of the next character, and stay with it.
        token_end = int(np.searchsorted(char_ends_T, span.end, side="left")) + 1
        token_end = len(char_ends_T) if index == len(spans) - 1 else min(token_end, len(char_ends_T))
        if token_end <= token_start:
            continue
        char_end = int(char_ends_T[token_end - 1])
        episodes.append(Episode(char_start, char_end, token_start + token_offset, token_end + token_offset))
        char_start, token_start = char_end, token_end
    return tuple(episodes)


def token_spans(spans_K: Sequence[Span], ends_T: NDArray[np.int32]) -> list[Span]:
    """Episodes in tokens of the caller: a cut inside a token moves to the end of that token, as for the prover's.

    Args:
        spans_K: in characters of the completion.
        ends_T: for each token, the characters that are complete once it is there; not decreasing.

    Returns:
        One span for each episode; one that lies within its predecessor's last token is empty.

    """

    def cut(char: int) -> int:
        return 0 if char == 0 else min(int(np.searchsorted(ends_T, char, side="left")) + 1, len(ends_T))

    return [Span(cut(span.start), cut(span.end)) for span in spans_K]


def plan_prefixes(completion: str, thinking: Thinking, episodes: Sequence[Episode]) -> PrefixPlan:
    """Cut the thinking's tokens after each episode.

    Thinking that is closed but empty, or only white space, has one prefix: `z[:0]` is also `z[:K]`. It is planned as
    the former: the terminator is the forced one, although `natural_end` says that the model closed it.
    """
    offset = episodes[0].token_start if episodes else 0
    return PrefixPlan(
        cuts=(0, *(episode.token_end - offset for episode in episodes)),
        natural_end=thinking.closed,
        midline=(False, *(not completion[: episode.char_end].endswith("\n") for episode in episodes)),
    )
