"""Writes reasoning traces that search the island: right in every step, and sloppy on purpose.

Each episode is three paragraphs. An *attempt* walks one candidate out and says whether it works; a *musing* walks
nothing. Every episode but the first opens with one of the marker phrases that the default segmenter looks for.
A sloppy writer comes back to candidates that it has already excluded, double-checks and goes on after it is done,
muses, and sometimes stops early and guesses. None of this reveals anything, which is what progress rewards can see.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Lt
from numpy.random import Generator

from mrt_reward.mini.island import EXITS, STEP_WORDS, Problem
from mrt_reward.ranges import check_ranges

FIRST_OPENERS = ("Let me start with {}.", "Let me try {} first.", "I will begin at {}.")
ATTEMPT_OPENERS = ("Wait, let me try {}.", "But wait, what about {}?", "Alternatively, take {}.")
CHECK_OPENER = "But let me double-check {}."
MUSINGS = (
    ("But hold on, let me think about the shape of the island.", "It has many paths, and they all look alike."),
    ("But hold on, maybe there is a pattern in these places.", "I looked at them again, but I do not see one."),
    ("Is there another way to think about this?", "Perhaps one could walk back from the exits instead."),
    ("Is there another way to think about this?", "I could draw the whole map, but that would take long."),
)
MUSING_ENDS = ("That does not settle anything.", "Let me go back to the map.", "So I still have to walk.")
FOUND_END = "That is the place I was looking for."
ELIMINATION_END = "Only one place is left, so it must be that one."
GUESS_END = "I will stop here and take a guess."

_LOOKED_UP = re.compile(r" to (\d+)")


@dataclass(frozen=True)
class Sloppiness:
    """How careless a writer is. All are probabilities; all zero is a perfect searcher.

    Attributes:
        repeat: an attempt goes to a candidate that was already excluded, when there is one.
        muse: an episode reveals nothing.
        guess: the search stops after an episode, with a guess among what is left.
        double_check: after the solution was found, it is walked once more; asked again after each time.
        wander: after the solution was found, another place is tried; asked again after each time.
        walk_last: the last place left is walked, though elimination has already settled it.

    """

    repeat: Annotated[float, Ge(0), Lt(1)] = 0.0
    muse: Annotated[float, Ge(0), Lt(1)] = 0.0
    guess: Annotated[float, Ge(0), Lt(1)] = 0.0
    double_check: Annotated[float, Ge(0), Lt(1)] = 0.0
    wander: Annotated[float, Ge(0), Lt(1)] = 0.0
    walk_last: Annotated[float, Ge(0), Lt(1)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.double_check + self.wander >= 1.0:
            raise ValueError(f"double_check + wander must be below 1, got {self.double_check + self.wander}")


BASE_SLOPPINESS = Sloppiness(repeat=0.3, muse=0.15, guess=0.07, double_check=0.35, wander=0.15, walk_last=0.6)
"""What the bundled policy was trained on."""

CHARTED_SLOPPINESS = Sloppiness(repeat=0.35, muse=0.2, guess=0.03, double_check=0.45, wander=0.2, walk_last=0.8)
"""What the policy on printed maps was trained on: more waste, because training has more to take away."""

TIDY = Sloppiness()
"""Tries each place once, stops when it is done."""


def walk_paragraphs(problem: Problem, candidate: int) -> tuple[str, str]:
    """The walk from `candidate`, and its verdict, as two paragraphs."""
    places = problem.walk(candidate)
    ending = (
        f"Place {places[-1]} is an exit, so it works from {candidate}."
        if places[-1] in EXITS
        else f"Place {places[-1]} is not an exit, which rules out {candidate}."
    )
    if problem.paths:
        return f"From {' to '.join(str(place) for place in (candidate, *places))}.", ending
    first, *rest = zip(STEP_WORDS[1:], places, strict=False)
    legs = [f"{first[0]} step leads to {first[1]}", *(f"{word} to {place}" for word, place in rest)]
    return f"From {candidate}, {', '.join(legs)}.", ending


@dataclass(frozen=True)
class PlaceChoice:
    """Where a place was chosen, and from what.

    Attributes:
        char_start: of the place's number in the text.
        probability: of each place that the writer might have chosen there.

    """

    char_start: int
    probability: Mapping[int, float]


@dataclass(frozen=True)
class Writing:
    r"""What is between `<think>\n` and `</think>`.

    Attributes:
        text: paragraphs, each followed by an empty line.
        choices: of the places that were tried, in the order of the text.
        lookups: where the number of each place starts that was read off a printed map.

    """

    text: str
    choices: tuple[PlaceChoice, ...]
    lookups: tuple[int, ...] = ()


def _evenly(places: Sequence[int], share: float = 1.0) -> dict[int, float]:
    return dict.fromkeys(places, share / len(places)) if places else {}


class _Search:
    """One search in progress: what was written and what is known."""

    def __init__(self, problem: Problem, sloppiness: Sloppiness, rng: Generator) -> None:
        self.problem = problem
        self.sloppiness = sloppiness
        self.rng = rng
        self.paragraphs: list[str] = []
        self.tested: list[int] = []
        self.choices: list[PlaceChoice] = []
        self.lookups: list[int] = []

    @property
    def untested(self) -> list[int]:
        return [candidate for candidate in self.problem.candidates if candidate not in self.tested]

    @property
    def is_found(self) -> bool:
        return self.problem.answer in self.tested

    def happens(self, probability: float) -> bool:
        return float(self.rng.random()) < probability

    def phrase(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]

    @property
    def text(self) -> str:
        return "".join(f"{paragraph}\n\n" for paragraph in self.paragraphs)

    def attempt(self, probability: Mapping[int, float], opener: str | None = None) -> None:
        """Choose a place and walk it out."""
        options = list(probability)
        candidate = options[int(self.rng.choice(len(options), p=list(probability.values())))]
        if opener is None:
            opener = self.phrase(ATTEMPT_OPENERS if self.paragraphs else FIRST_OPENERS)
        self.choices.append(PlaceChoice(len(self.text) + opener.index("{}"), probability))
        self.paragraphs.append(opener.format(candidate))
        walked, verdict = walk_paragraphs(self.problem, candidate)
        if self.problem.paths:
            self.lookups += [len(self.text) + found.start(1) for found in _LOOKED_UP.finditer(walked)]
        self.paragraphs += [walked, verdict]
        if candidate not in self.tested:
            self.tested.append(candidate)

    def muse(self) -> None:
        opening, thought = MUSINGS[int(self.rng.integers(len(MUSINGS)))]
        self.paragraphs += [opening, thought, self.phrase(MUSING_ENDS)]

    def search(self) -> str:
        """Walk places until something settles the question; says how the trace ends."""
        sloppiness = self.sloppiness
        while not self.is_found:
            if self.paragraphs and self.happens(sloppiness.guess):
                return GUESS_END
            if len(self.untested) == 1 and not self.happens(sloppiness.walk_last):
                return ELIMINATION_END
            if self.paragraphs and self.happens(sloppiness.muse):
                self.muse()
                continue
            repeat = sloppiness.repeat if self.tested else 0.0
            self.attempt({**_evenly(self.untested, 1.0 - repeat), **_evenly(self.tested, repeat)})
        return FOUND_END

    def linger(self) -> None:
        """Go on after the solution was found."""
        checks, wanders = self.sloppiness.double_check, self.sloppiness.wander
        while (draw := float(self.rng.random())) < checks + wanders:
            if draw < checks:
                self.attempt({self.problem.answer: 1.0}, CHECK_OPENER)
            else:
                self.attempt(_evenly([place for place in self.problem.candidates if place != self.problem.answer]))


def write_thinking(problem: Problem, sloppiness: Sloppiness, rng: Generator) -> Writing:
    """Write one search, from the first place to the sentence that says that the writer is done.

    That sentence never tells the answer, which belongs to the box: the same words end a trace by force.
    """
    state = _Search(problem, sloppiness, rng)
    ending = state.search()
    if state.is_found:
        state.linger()
    return Writing(f"{state.text}{ending}\n\n", tuple(state.choices), tuple(state.lookups))
