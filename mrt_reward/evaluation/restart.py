"""At matched tokens, would starting over have done as well as going on?

A trace that still runs at budget t may go on to 2t, or be dropped for a fresh one that runs to t: 2t tokens either way.
What a fresh one would do is known from the other traces of the same problem. That accuracy rises with budget is in
itself no proof that the thinking so far was worth anything; this comparison is.

Dimension key: B budgets t · T traces of one problem.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNSOLVED = 0.5
"""Value below which a trace counts as not there yet."""


@dataclass(frozen=True, slots=True)
class GoingOn:
    """One trace's part in the comparison, at every budget t.

    Attributes:
        here_B: accuracy at t.
        counted_B: 1 where the trace counts: it still runs at t (and is not there yet, if only such traces count).
        later_B: accuracy at 2t where it counts, else 0.

    """

    here_B: Floats
    counted_B: Floats
    later_B: Floats


def continuation(here_B: Floats, later_B: Floats, runs_B: NDArray[np.bool_], *, below: float = np.inf) -> GoingOn:
    """A trace's part, among traces whose accuracy at t is below a level.

    Args:
        here_B: accuracy at t.
        later_B: accuracy at 2t.
        runs_B: whether the trace thinks on after t.
        below: only traces with less accuracy at t count; infinite counts all.

    """
    counted_B = runs_B & (here_B < below)
    return GoingOn(here_B, counted_B.astype(np.float64), np.where(counted_B, later_B, 0.0))


def restart_comparison(
    *, num_traces: int, sum_here_B: Floats, num_counted_B: Floats, sum_counted_here_B: Floats, sum_later_B: Floats
) -> tuple[Floats, Floats]:
    """One problem's accuracy at 2t tokens by going on, and by starting over at t, over the traces that count.

        going on      = mean over counted traces i of acc_i(2t)
        starting over = mean over counted traces i of the mean over other traces of acc(t)

    Everything is a sum over traces, so that traces can be added as they come.

    Args:
        num_traces: T, the number of traces of the problem.
        sum_here_B: of all traces' accuracy at t.
        num_counted_B: traces that count.
        sum_counted_here_B: of their accuracy at t.
        sum_later_B: of their accuracy at 2t.

    Returns:
        `continued_B` and `restarted_B`; NaN where no trace counts or there is no other trace.

    """
    known_B = (num_counted_B > 0) & (num_traces > 1)
    num_B = np.where(known_B, num_counted_B, 1.0)
    others_B = (num_counted_B * sum_here_B - sum_counted_here_B) / max(num_traces - 1, 1)
    return np.where(known_B, sum_later_B / num_B, np.nan), np.where(known_B, others_B / num_B, np.nan)
