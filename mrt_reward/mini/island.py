"""The world: an island map, and search problems on it.

The island has 64 places. From each place exactly one path leads on, to a different place for each; 12 places are exits.
The map is the same in every problem and is never printed: a reasoner has to know it. A problem lists a few of the 24
places where a search may start, and asks which of them leads to an exit after exactly d steps; exactly one does.
Nothing short of walking tells which. Other islands have the same exits, and paths that the problem
prints; see `charts`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator

NUM_PLACES = 64
NUM_EXITS = 12
NUM_STARTS = 24
CANDIDATE_COUNTS = (2, 2, 3, 4, 5, 5)
"""How many places a problem lists: many problems are easy at once or hard, fewer lie between."""
MAX_CANDIDATES = max(CANDIDATE_COUNTS)
MIN_STEPS, MAX_STEPS = 3, 5
MIN_CHARTED_STEPS, MAX_CHARTED_STEPS = 2, 3
"""Where the paths are printed."""

STEP_WORDS = ("zero", "one", "two", "three", "four", "five")
"""Steps are counted in words, so that a count is never mistaken for a place."""

_MAP_SEED = 2503_07572

_PROBLEM = re.compile(
    r"which of these places leads to an exit after exactly (?P<steps>"
    + "|".join(STEP_WORDS[MIN_CHARTED_STEPS:])
    + r") steps: (?P<candidates>\d+(?:, \d+)+)\? Exactly one of them does\."
    r"(?: Its paths: (?P<paths>\d+>\d+(?:, \d+>\d+)*)\.)?"
)


def _draw_map() -> tuple[tuple[int, ...], frozenset[int], tuple[int, ...]]:
    """Draw the island: where each place leads, the exits, and where a search may start."""
    rng = np.random.default_rng(_MAP_SEED)
    # One closed tour through all places: no place leads to itself, and distinct places stay distinct after d steps.
    tour = [int(place) for place in rng.permutation(NUM_PLACES)]
    successor = [0] * NUM_PLACES
    for place, following in zip(tour, tour[1:] + tour[:1], strict=True):
        successor[place] = following
    exits = frozenset(int(place) for place in rng.choice(NUM_PLACES, NUM_EXITS, replace=False))
    starts = sorted(int(place) for place in rng.choice(NUM_PLACES, NUM_STARTS, replace=False))
    return tuple(successor), exits, tuple(starts)


SUCCESSOR, EXITS, STARTS = _draw_map()


def walk(start: int, steps: int, leads: Sequence[int] | Mapping[int, int] = SUCCESSOR) -> tuple[int, ...]:
    """Places reached from `start` after 1, 2, … `steps` steps, where `leads` says which place follows each.

    Returns:
        `steps` places; the last one decides.

    """
    places: list[int] = []
    for _ in range(steps):
        start = leads[start]
        places.append(start)
    return tuple(places)


@dataclass(frozen=True)
class Problem:
    """Which of `candidates` leads to an exit after exactly `steps` steps?

    Attributes:
        candidates: distinct places in 0 … 63, in the order of the question.
        steps: length of each walk, 3 to 5; 2 or 3 where the paths are printed.
        paths: (from, to) of each path that is printed, in that order; empty on the island whose map is known.

    """

    candidates: tuple[int, ...]
    steps: int
    paths: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        least, most = (MIN_CHARTED_STEPS, MAX_CHARTED_STEPS) if self.paths else (MIN_STEPS, MAX_STEPS)
        if not least <= self.steps <= most:
            raise ValueError(f"steps must lie in {least} … {most}, got {self.steps}")
        if len(set(self.candidates)) != len(self.candidates) or not set(self.candidates) <= set(range(NUM_PLACES)):
            raise ValueError(f"candidates must be distinct places in 0 … {NUM_PLACES - 1}, got {self.candidates}")
        if self.paths and not set(self._leads.values()) | set(self.candidates) <= self._leads.keys():
            raise ValueError(
                f"every place must lead on, but some of {self.candidates} or their paths end: {self.paths}"
            )
        num_right = sum(self.works(candidate) for candidate in self.candidates)
        if num_right != 1:
            raise ValueError(f"exactly one candidate must lead to an exit, but {num_right} of {self.candidates} do")

    @cached_property
    def _leads(self) -> Mapping[int, int]:
        return dict(self.paths) if self.paths else dict(enumerate(SUCCESSOR))

    def walk(self, candidate: int) -> tuple[int, ...]:
        """Places reached from `candidate` after 1, 2, … `steps` steps."""
        return walk(candidate, self.steps, self._leads)

    def works(self, candidate: int) -> bool:
        """Whether the walk from `candidate` ends at an exit."""
        return self.walk(candidate)[-1] in EXITS

    @property
    def answer(self) -> int:
        """The one candidate that works."""
        return next(candidate for candidate in self.candidates if self.works(candidate))

    @property
    def text(self) -> str:
        """The question, in English."""
        listed = ", ".join(str(candidate) for candidate in self.candidates)
        steps = STEP_WORDS[self.steps]
        asked = (
            f"which of these places leads to an exit after exactly {steps} steps: {listed}? Exactly one of them does."
        )
        if not self.paths:
            return f"On the island map, {asked}"
        # Behind the question, so that where a candidate leads cannot be looked up while the candidates are read.
        return f"On this island, {asked} Its paths: {', '.join(f'{place}>{to}' for place, to in self.paths)}."


def sample_problem(rng: Generator) -> Problem:
    """Draw a problem: uniform length of the walk, one of `CANDIDATE_COUNTS`, uniform position of the answer."""
    steps = int(rng.integers(MIN_STEPS, MAX_STEPS + 1))
    num_candidates = int(rng.choice(CANDIDATE_COUNTS))
    right = [place for place in STARTS if walk(place, steps)[-1] in EXITS]
    wrong = [place for place in STARTS if walk(place, steps)[-1] not in EXITS]
    chosen = [int(rng.choice(right)), *(int(place) for place in rng.choice(wrong, num_candidates - 1, replace=False))]
    return Problem(tuple(chosen[int(index)] for index in rng.permutation(num_candidates)), steps)


def sample_problems(num_problems: int, seed: int) -> list[Problem]:
    """Draw `num_problems` problems, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    return [sample_problem(rng) for _ in range(num_problems)]


def parse_problem(text: str) -> Problem:
    """Read a problem back from text that contains its question; inverse of `Problem.text`.

    Raises:
        ValueError: no question is there, or it does not describe a problem.

    """
    match = _PROBLEM.search(text)
    if match is None:
        raise ValueError(f"expected an island question, got {text[:80]!r}")
    candidates = tuple(int(place) for place in match["candidates"].split(", "))
    paths = [path.split(">") for path in (match["paths"] or "").split(", ") if path]
    return Problem(candidates, STEP_WORDS.index(match["steps"]), tuple((int(place), int(to)) for place, to in paths))
