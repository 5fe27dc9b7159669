"""The world: an island map, and search problems on it.

The island has 64 places. From each place exactly one path leads on, to a different place for each; 12 places are exits.
The map is the same in every problem and is never printed: a reasoner has to know it. A problem lists a few of the 24
places where a search may start, and asks which of them leads to an exit after exactly d steps; exactly one does.
Nothing short of walking tells which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

NUM_PLACES = 64
NUM_EXITS = 12
NUM_STARTS = 24
CANDIDATE_COUNTS = (2, 2, 3, 4, 5, 5)
"""How many places a problem lists: many problems are easy at once or hard, fewer lie between."""
MAX_CANDIDATES = max(CANDIDATE_COUNTS)
MIN_STEPS, MAX_STEPS = 3, 5

STEP_WORDS = ("zero", "one", "two", "three", "four", "five")
"""Steps are counted in words, so that a count is never mistaken for a place."""

_MAP_SEED = 2503_07572

_PROBLEM = re.compile(
    r"which of these places leads to an exit after exactly (?P<steps>"
    + "|".join(STEP_WORDS[MIN_STEPS:])
    + r") steps: (?P<candidates>\d+(?:, \d+)+)\?"
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


def walk(start: int, steps: int) -> tuple[int, ...]:
    """Places reached from `start` after 1, 2, … `steps` steps.

    Returns:
        `steps` places; the last one decides.

    """
    places: list[int] = []
    for _ in range(steps):
        start = SUCCESSOR[start]
        places.append(start)
    return tuple(places)


@dataclass(frozen=True)
class Problem:
    """Which of `candidates` leads to an exit after exactly `steps` steps?

    Attributes:
        candidates: distinct places in 0 … 63, in the order of the question.
        steps: length of each walk, 3 to 5.

    """

    candidates: tuple[int, ...]
    steps: int

    def __post_init__(self) -> None:
        if not MIN_STEPS <= self.steps <= MAX_STEPS:
            raise ValueError(f"steps must lie in {MIN_STEPS} … {MAX_STEPS}, got {self.steps}")
        if len(set(self.candidates)) != len(self.candidates) or not set(self.candidates) <= set(range(NUM_PLACES)):
            raise ValueError(f"candidates must be distinct places in 0 … {NUM_PLACES - 1}, got {self.candidates}")
        num_right = sum(self.works(candidate) for candidate in self.candidates)
        if num_right != 1:
            raise ValueError(f"exactly one candidate must lead to an exit, but {num_right} of {self.candidates} do")

    def works(self, candidate: int) -> bool:
        """Whether the walk from `candidate` ends at an exit."""
        return walk(candidate, self.steps)[-1] in EXITS

    @property
    def answer(self) -> int:
        """The one candidate that works."""
        return next(candidate for candidate in self.candidates if self.works(candidate))

    @property
    def text(self) -> str:
        """The question, in English."""
        listed = ", ".join(str(candidate) for candidate in self.candidates)
        steps = STEP_WORDS[self.steps]
        return (
            f"On the island map, which of these places leads to an exit after exactly {steps} steps: {listed}? "
            "Exactly one of them does."
        )


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
    return Problem(candidates, STEP_WORDS.index(match["steps"]))
