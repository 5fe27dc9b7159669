"""The price of time: what an episode is charged for being written at all.

Progress pays for going on, and closing the thinking costs nothing by itself. A baseline that every episode is charged
but closing is not is therefore a price: an episode is worth writing where it earns more than its price.

- Per thinking token (`rate`): the others' progress per token, so that an episode pays for its length. It is the price
  of the marginal value theorem, and the multiplier of a bound E|z| ≤ C on thinking; it changes what is maximised into
  progress per token.
- Per episode (`group`): the mean over traces of each trace's mean progress, whatever the episode's length.

A price is never below zero, because a negative one would pay for going on.

Dimension key: G traces of a group · K episodes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def token_prices(progress_G: Floats, token_G: Floats) -> Floats:
    """Price of a thinking token for each trace, from the other traces of its group.

        ρ[-i] = max(0, Σ_{k≠i} (J[K] - J[0])_k / Σ_{k≠i} T_k)

    With the trace itself in ρ, its own credit would be scaled by 1 - T_i / Σ T.

    Args:
        progress_G: J[K] - J[0] of each trace; NaN where it is not completely scored, and then it sets no price.
        token_G: T, its thinking tokens; at least 0.

    Returns:
        `price_G` in progress per token, at least 0; 0 where no other trace has both.

    Raises:
        ValueError: shapes differ, or there are fewer tokens than none.

    """
    if progress_G.ndim != 1 or progress_G.shape != token_G.shape:
        raise ValueError(f"expected two arrays of one shape (G,), got {progress_G.shape} and {token_G.shape}")
    if not (token_G >= 0).all():
        raise ValueError(f"thinking tokens must be at least 0, got {token_G}")
    known_G = np.isfinite(progress_G)
    price_G = np.zeros(progress_G.size)
    for trace in range(progress_G.size):
        # Summed anew for each trace: total minus own would leave rounding where all the others made no progress.
        others_G = known_G & (np.arange(progress_G.size) != trace)
        tokens = float(token_G[others_G].sum())
        if tokens > 0:
            price_G[trace] = max(0.0, float(progress_G[others_G].sum()) / tokens)
    return price_G


def episode_price(return_G: Sequence[Floats]) -> float:
    """Price of an episode: mean over traces of each trace's mean return, at least 0; traces without episodes set none.

    Args:
        return_G: `return_K` of each completely scored trace.

    """
    means = [float(return_K.mean()) for return_K in return_G if return_K.size]
    return max(0.0, float(np.mean(means))) if means else 0.0
