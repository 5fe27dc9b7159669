"""A grader as the pipeline asks it: each batch of answers is timed, and is a stage of its request."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mrt_reward.protocols import GradeItem, Grader
from mrt_reward.protocols.stages import stage
from mrt_reward.types import Grade


@dataclass(frozen=True, slots=True)
class TimedGrader:
    """A `Grader` around another.

    Attributes:
        grader: judges; not owned.
        on_graded: called with the seconds of each batch that was judged, the wait for a free process included.

    """

    grader: Grader
    on_graded: Callable[[float], None]

    @property
    def identity(self) -> str:
        """As the grader's."""
        return self.grader.identity

    @property
    def needs_answer(self) -> bool:
        """As the grader does."""
        return self.grader.needs_answer

    @property
    def binary(self) -> bool:
        """As the grader is."""
        return self.grader.binary

    async def grade(self, items: Sequence[GradeItem]) -> Sequence[Grade]:
        """Grades in the order of the items."""
        began = time.monotonic()
        with stage("grade", answers=len(items)):
            grades = await self.grader.grade(items)
        self.on_graded(time.monotonic() - began)
        return grades

    async def close(self) -> None:
        """Close the grader."""
        await self.grader.close()
