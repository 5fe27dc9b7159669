"""What is believed of a trace's values before its answers are seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le, Lt

from mrt_reward.ranges import Strict, check_ranges


@dataclass(frozen=True, slots=True)
class PathPrior:
    """How values move along a trace: they stand nearly still, and sometimes jump. See `core.posterior`.

    The defaults are one choice for boxed and free-form answers and for three models (`evaluation/estimators.md`);
    `compare-provers --fit-prior` fits them to traces of yours.

    Attributes:
        change: probability that J jumps across an episode.
        drift: how far it moves otherwise: standard deviation of its angle arcsin √J, as a share of a right angle.
        a: of the Beta distribution of J at the start and after a jump.
        b: likewise.
        coupling: share of coupled answers that are alike whenever J leaves them the chance.
        strength: how many answers a likelihood counts as, where it serves as a prior.

    Raises:
        ValueError: a field is outside its range.

    """

    __pydantic_config__: ClassVar[Any] = Strict

    change: Annotated[float, Gt(0), Lt(1)] = 0.5
    drift: Annotated[float, Ge(0), Le(1)] = 0.02
    a: Annotated[float, Gt(0), Le(100)] = 0.7
    b: Annotated[float, Gt(0), Le(100)] = 0.5
    coupling: Annotated[float, Ge(0), Lt(1)] = 0.8
    strength: Annotated[float, Gt(0), Le(1000)] = 8.0

    def __post_init__(self) -> None:
        check_ranges(self)
