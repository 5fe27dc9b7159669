"""What the service needs from a grader."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import did_you_mean
from mrt_reward.types import Grade

T = TypeVar("T")


def grader_of(name: str | None, graders: Mapping[str, T]) -> T:
    """The grader, or its specification, that options name; None is the first.

    Raises:
        ConfigError: there is none of that name.

    """
    if name is not None and name not in graders:
        known = ", ".join(graders)
        raise ConfigError(
            f"unknown grader {name!r}: expected one of {known}{did_you_mean(name, graders)}", param="options.grader"
        )
    return graders[name or next(iter(graders))]


@dataclass(frozen=True, slots=True)
class GradeItem:
    r"""One answer to judge.

    Attributes:
        completion: untrusted text that holds the answer.
        answers: accepted gold answers; at least one, unless the grader needs none.
        problem: what was asked, for graders that read it.
        boxed_prefix: the text starts right after a trusted `\\boxed`, so its first balanced braces are the answer.

    """

    completion: str
    answers: tuple[str, ...]
    problem: str = ""
    boxed_prefix: bool = False


@dataclass(frozen=True, slots=True)
class Party:
    """On whose behalf answers are graded: where workers are short, callers take turns, and so do requests of each.

    Attributes:
        caller: who sent the request; the request itself where callers are not distinguished.
        request: one of the caller's.

    """

    caller: Hashable
    request: Hashable


_CALLER: ContextVar[Hashable] = ContextVar("caller", default=None)
_PARTY: ContextVar[Party] = ContextVar("party")


def asking_for(caller: Hashable) -> None:
    """Requests that begin in this context are this caller's from now on."""
    _CALLER.set(caller)


def asking_caller() -> Hashable:
    """Who asks in this context; None where callers are not distinguished."""
    return _CALLER.get()


def asking_together() -> None:
    """Everything graded in this context is one request from now on."""
    _PARTY.set(_one_request())


def asking_party() -> Party:
    """Who grades in this context; a request of its own where nobody said."""
    return _PARTY.get(None) or _one_request()


def _one_request() -> Party:
    request = object()
    return Party(_CALLER.get() or request, request)


@runtime_checkable
class CountsKills(Protocol):
    """A grader whose work is done in processes that are killed when an answer takes too much."""

    @property
    def num_kills(self) -> Mapping[str, int]:
        """By reason, since the start."""
        ...


class Grader(Protocol):
    """Judges answers. It never raises for what an answer says; what it could not judge is UNGRADED."""

    @property
    def identity(self) -> str:
        """Name and version of everything that can change a verdict; part of cache keys."""
        ...

    @property
    def needs_answer(self) -> bool:
        """Whether a gold answer must be there."""
        ...

    @property
    def binary(self) -> bool:
        """Whether its grades are verdicts; otherwise they carry scores in [0, 1]."""
        ...

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items."""
        ...

    async def close(self) -> None:
        """Stop the worker processes."""
        ...
