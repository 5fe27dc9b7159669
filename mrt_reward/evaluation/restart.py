"""At matched tokens, would starting over have done as well as going on?

A trace that still runs at budget t may go on to 2t, or be dropped for a fresh one that runs to t: 2t tokens either way.
What a fresh one would do is known from the other traces of the same problem. That accuracy rises with budget is in
itself no proof that the thinking so far was worth anything; this comparison is.

Dimension key: B budgets t · T traces of one problem.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

UNSOLVED = 0.5
"""Value below which a trace counts as not there yet."""


def restart_comparison(
    here_TB: Floats, later_TB: Floats, runs_TB: NDArray[np.bool_], *, below: float = np.inf
) -> tuple[Floats, Floats]:
    """One problem's accuracy at 2t tokens by going on, and by starting over at t, over the traces that count.

        going on      = mean over counted traces i of acc_i(2t)
        starting over = mean over counted traces i of the mean over other traces of acc(t)

    Args:
        here_TB: accuracy of each trace at t.
        later_TB: accuracy at 2t.
        runs_TB: whether the trace thinks on after t; only such traces count.
        below: only traces with less accuracy at t count; infinite counts all.

    Returns:
        `continued_B` and `restarted_B`; NaN where no trace counts or there is no other trace.

    """
    counted_TB = runs_TB & (here_TB < below)
    num_counted_B, num_others = counted_TB.sum(axis=0), len(here_TB) - 1
    known_B = (num_counted_B > 0) & (num_others > 0)
    num_B = np.where(known_B, num_counted_B, 1)
    others_TB = (here_TB.sum(axis=0) - here_TB) / max(num_others, 1)
    continued_B, restarted_B = (np.where(counted_TB, each, 0.0).sum(axis=0) / num_B for each in (later_TB, others_TB))
    return np.where(known_B, continued_B, np.nan), np.where(known_B, restarted_B, np.nan)
