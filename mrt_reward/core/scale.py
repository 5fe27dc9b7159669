"""On which scale progress is measured: as the rise of J, or of log J.

    L(J) = J                         probability
    L(J) = log max(J, floor)         log, in nats;  progress L(J[j + 1]) - L(J[j]) sums to L(J[K]) - L(J[0])

Probabilities of long answers are all near 0, and so is their progress, however much likelier an episode makes the
answer; the rise of their logarithms is as large as that of short ones (arXiv 2602.03979 compares the two as rewards).
The floor bounds what a trace is paid: its progress sums to at most -log floor, either way. It needs values that are
exact: of sampled answers, 0 of M would be paid as the floor is chosen, and log c/n is biased everywhere.

Dimension key: P = K + 1 prefixes. NaN marks what is missing, and stays NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Lt
from numpy.typing import NDArray

from mrt_reward.ranges import option
from mrt_reward.types import ScoredTrace, Value

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ProgressScale:
    """What progress is the rise of.

    A probability below the smallest `log_floor` is 0 or inexact as a double, so J says all that `log` can tell apart.
    """

    progress: Literal["probability", "log"] = option(
        "probability",
        "What an episode is paid the rise of: J, or log J for long answers, whose J are all near 0. Then alpha is per "
        "nat, of which a trace may gain hundreds: begin with 0.01 to 0.1. Needs likelihood.",
    )
    log_floor: Annotated[float, Ge(1e-300), Lt(1)] = option(
        1e-100, "Smallest J that log tells apart: a trace's progress sums to at most -log of it, here 230 nats."
    )

    @property
    def scale(self) -> ProgressScale:
        """This alone, of a record that has more options."""
        return ProgressScale(progress=self.progress, log_floor=self.log_floor)

    def levels(self, value_P: Floats) -> Floats:
        """J on this scale: in [0, 1], or in [log floor, 0] nats."""
        if self.progress == "probability":
            return value_P
        return np.log(np.maximum(value_P, self.log_floor))

    def values(self, level_P: Floats) -> Floats:
        """J again; what was below the floor is the floor."""
        return level_P if self.progress == "probability" else np.exp(level_P)

    def share(self, level: float) -> float:
        """How far up the scale a level is, in [0, 1]."""
        return level if self.progress == "probability" else 1.0 - level / math.log(self.log_floor)

    def level_at(self, share: float) -> float:
        """The level of a share."""
        return share if self.progress == "probability" else (1.0 - share) * math.log(self.log_floor)

    def check_values(self, traces: Iterable[ScoredTrace]) -> None:
        """Refuse values that cannot be put on this scale.

        Raises:
            ValueError: it is `log`, and a value is of sampled answers.

        """
        if self.progress == "probability":
            return
        for trace in traces:
            if any(_is_sampled(value) for value in trace.values):
                raise ValueError(
                    f"progress log needs values without sampling error, and those of trace {trace.id!r} are of sampled "
                    "answers: none right of a few does not tell how small J is; use estimator 'likelihood', or "
                    "progress 'probability'"
                )


def _is_sampled(value: Value) -> bool:
    """Whether it is known to be; of a value that is given alone, its caller knows."""
    return value.value is not None and value.bound is None and value.stderr is not None
