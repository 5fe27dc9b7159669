"""Problems that print their own map, so that searching cannot be unlearnt.

On the island whose map is never printed, training soon teaches a policy what each place leads to, and then there is
nothing left to search. Here every problem draws its own paths, and prints them behind the question: a closed tour
through twice as many places as are candidates. Only walking tells which of them leads to an exit, every time anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from mrt_reward.mini.island import EXITS, MAX_CHARTED_STEPS, MIN_CHARTED_STEPS, NUM_PLACES, Problem, walk

PLACES_PER_CANDIDATE = 2
MIN_CANDIDATES, MAX_CANDIDATES = 3, 16


@dataclass(frozen=True)
class Regime:
    """A range of problem sizes, and the budget that belongs to it.

    Attributes:
        name: short, long or deep.
        candidate_counts: how many candidates a problem may have, all equally often.
        budget_tokens: of a completion in training, answer included.

    """

    name: str
    candidate_counts: tuple[int, ...]
    budget_tokens: int


SHORT = Regime("short", (3, 4), 240)
"""Problems fit the budget."""
LONG = Regime("long", (4, 6, 8, 10), 160)
"""They do not."""
DEEP = Regime("deep", (12, 14, 16), 240)
"""They do not by far, and traces keep several episodes."""
REGIMES = {regime.name: regime for regime in (SHORT, LONG, DEEP)}

ALL_COUNTS = tuple(range(MIN_CANDIDATES, MAX_CANDIDATES + 1))


def sample_charted(rng: Generator, candidate_counts: tuple[int, ...] = ALL_COUNTS) -> Problem:
    """Draw a problem with paths of its own: uniform length of the walk, number and order of candidates."""
    steps = int(rng.integers(MIN_CHARTED_STEPS, MAX_CHARTED_STEPS + 1))
    num_candidates = int(rng.choice(candidate_counts))
    while True:
        tour = [int(place) for place in rng.choice(NUM_PLACES, PLACES_PER_CANDIDATE * num_candidates, replace=False)]
        leads = dict(zip(tour, tour[1:] + tour[:1], strict=True))
        right = [place for place in tour if walk(place, steps, leads)[-1] in EXITS]
        wrong = [place for place in tour if walk(place, steps, leads)[-1] not in EXITS]
        # The few exits may all have been left out, or all be there.
        if right and len(wrong) >= num_candidates - 1:
            break
    chosen = [int(rng.choice(right)), *(int(place) for place in rng.choice(wrong, num_candidates - 1, replace=False))]
    paths = tuple((tour[int(index)], leads[tour[int(index)]]) for index in rng.permutation(len(tour)))
    return Problem(tuple(chosen[int(index)] for index in rng.permutation(num_candidates)), steps, paths)


def sample_charted_problems(num_problems: int, seed: int, regime: Regime) -> list[Problem]:
    """Draw `num_problems` problems of a regime, the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    return [sample_charted(rng, regime.candidate_counts) for _ in range(num_problems)]
