"""Stages of the work for a request, for whoever follows it; where nobody does, a stage is nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar

Note = Callable[[Mapping[str, int]], None]
"""Adds counts to a stage before it ends."""

Follow = Callable[[str, Mapping[str, int]], AbstractContextManager[Note]]
"""Opens a stage, by its name and what is counted of it at its beginning."""

_FOLLOW: ContextVar[Follow | None] = ContextVar("follow", default=None)


def followed_by(follow: Follow) -> None:
    """Stages that begin in this context are opened by this from now on."""
    _FOLLOW.set(follow)


def stage(name: str, **counts: int) -> AbstractContextManager[Note]:
    """A stage of the work in this context; holds numbers alone, and no text of a caller's."""
    follow = _FOLLOW.get()
    return nullcontext(_not_noted) if follow is None else follow(name, counts)


def _not_noted(_counts: Mapping[str, int]) -> None:
    """Nobody follows."""
