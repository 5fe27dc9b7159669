"""What a prefix has revealed, read from its text alone.

`J_revealed` is the success rate of an answerer that knows the problem and only the checks written in z[:j]: 1 once the
solution was found, else 1 over the untested candidates. The text may come from a model, so nothing in it is believed:
a check counts only where the walk it shows is the right one, all d steps long, and the verdict agrees with the map.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mrt_reward.core.episodes import Thinking
from mrt_reward.core.episodes import episode_spans as core_spans
from mrt_reward.mini.island import Problem
from mrt_reward.mini.writer import walk_paragraphs
from mrt_reward.options import MarkerSegmenter
from mrt_reward.types import Span

_NATURAL = MarkerSegmenter(max_episodes=None)
_SEPARATOR = re.compile(r"\n{2,}")


def episode_spans(thinking: str) -> tuple[Span, ...]:
    """Cut a thinking block into its natural episodes, one per attempt, check or musing.

    Returns:
        Spans that partition `thinking`, separators included; none for empty text.

    """
    whole = Thinking(0, len(thinking), closed=False, answer_start=len(thinking), opened_by_text=False)
    return core_spans(thinking, whole, _NATURAL)


def prefixes(thinking: str) -> list[str]:
    """The K + 1 prefixes z[:0] … z[:K] of a thinking block, the empty one first."""
    return ["", *(thinking[: span.end] for span in episode_spans(thinking))]


def checked_candidates(problem: Problem, prefix: str) -> frozenset[int]:
    """Candidates whose walk and verdict are written in `prefix`, completely and rightly."""
    # The last piece has no separator behind it: a thought that was cut there may have had more to say.
    paragraphs = _SEPARATOR.split(prefix)[:-1]
    written = set(pairwise(paragraphs))
    return frozenset(place for place in problem.candidates if walk_paragraphs(problem, place) in written)


def open_candidates(problem: Problem, prefix: str) -> tuple[int, ...]:
    """Candidates that may still be the answer after the checks in `prefix`.

    Returns:
        The answer alone once it was found; never empty.

    """
    checked = checked_candidates(problem, prefix)
    if problem.answer in checked:
        return (problem.answer,)
    return tuple(candidate for candidate in problem.candidates if candidate not in checked)


def revealed_values(problem: Problem, prefixes: Sequence[str]) -> NDArray[np.float64]:
    """`J_revealed` of each prefix.

        J_revealed = 1 / (number of candidates that may still be the answer)

    Args:
        problem: the question.
        prefixes: texts of z[:j].

    Returns:
        `value_P` in [1/N, 1]. Over nested prefixes it never falls.

    """
    return np.array([1.0 / len(open_candidates(problem, prefix)) for prefix in prefixes])
