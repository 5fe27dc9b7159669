"""What is taken off the return of every decision of a trace: to write an episode, or to close the thinking.

- `none`: nothing.
- `group`: a price for each episode, the mean over traces of each trace's mean G, at least 0.
- `rate`: a price for each thinking token, what the other traces' progress comes to per token, at least 0.
- `group_index`: the mean of G[j] over the other traces that have an episode j, and the mean over traces of each trace's
  mean where there is none.
- `leave_one_out`: the mean of the returns of the other traces that come to a decision j, of which closing has return 0.

`group` and `rate` are prices, because closing is free: they pay for being short. With `charge_closing` it costs as much
as an episode of the others does on average. `leave_one_out` is the same for whatever is decided at j, and is taken off
closing as well.

Dimension key: G traces of a group · K episodes · P = K + 1 decisions, or prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrt_reward.core.anytime import decision_baselines
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.prices import episode_price, token_prices
from mrt_reward.core.progress import Floats
from mrt_reward.types import ScoredTrace

MAX_TOKENS = 2**31
"""More than any trace has."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a trace's prefixes end.

    Attributes:
        token_P: tokens of the response up to the end of each prefix, the first one where the thinking starts; None
            where they are not known.
        cut_off: whether the trace ended while thinking, so that there is no answer; None where that is not known.

    Raises:
        ValueError: there is no prefix, or the ends fall.

    """

    token_P: Floats | None
    cut_off: bool | None

    def __post_init__(self) -> None:
        token_P = self.token_P
        if token_P is not None and (token_P.ndim != 1 or token_P.size == 0 or (np.diff(token_P) < 0).any()):
            raise ValueError(f"ends of prefixes must have shape (P,), P >= 1, and must not fall; got {token_P}")

    @classmethod
    def of(cls, scored: ScoredTrace) -> Extent:
        """Of a scored trace, in the prover's tokens; spans that are not in order or beyond any trace say nothing."""
        ends = [episode.token_end for episode in scored.episodes]
        bounds = [scored.episodes[0].token_start if ends else 0, *ends]
        in_order = sorted(bounds) == bounds and bounds[0] >= 0 and bounds[-1] <= MAX_TOKENS
        if len(bounds) != len(scored.values) or (ends and not ends[-1]) or not in_order:
            return cls(None, scored.truncated)
        return cls(np.array(bounds, np.float64), scored.truncated)

    @property
    def length_K(self) -> Floats:  # noqa: N802 - an array
        """Tokens of each episode; none where they are not known."""
        return np.zeros(0) if self.token_P is None else np.diff(self.token_P)


def baselines(
    return_G: Sequence[Floats | None],
    level_GP: Sequence[Floats | None],
    extent_G: Sequence[Extent | None],
    config: CreditConfig,
) -> list[Floats]:
    """Baselines of each trace, one for each episode and the last for closing.

    Args:
        return_G: G of each trace's episodes; None where it is not complete, and then it is in no baseline.
        level_GP: J of each trace's prefixes on the scale of progress (`core.scale`); None where it was not scored.
        extent_G: where prefixes end; needed of all traces with returns for `rate` and `leave_one_out`.
        config: `baseline` and `charge_closing`.

    Returns:
        `baseline_P` of each trace, also of one that is not complete; a single number, for closing, of one that was not
        scored.

    """
    size_G = [0 if level_P is None else level_P.size - 1 for level_P in level_GP]
    match config.baseline:
        case "none":
            return [np.zeros(size + 1) for size in size_G]
        case "group":
            price = episode_price([each for each in return_G if each is not None])
            closing = price if config.charge_closing else 0.0
            return [np.append(np.full(size, price), closing) for size in size_G]
        case "rate":
            progress_G = [
                np.nan if return_K is None or level_P is None else float(level_P[-1] - level_P[0])
                for return_K, level_P in zip(return_G, level_GP, strict=True)
            ]
            return _rate(return_G, np.array(progress_G), extent_G, charge_closing=config.charge_closing)
        case "group_index":
            return [np.append(_at_index(trace, size, return_G), 0.0) for trace, size in enumerate(size_G)]
        case "leave_one_out":
            closed_G = [extent is not None and extent.cut_off is False for extent in extent_G]
            return decision_baselines(return_G, closed_G, size_G)


def _rate(
    return_G: Sequence[Floats | None], progress_G: Floats, extent_G: Sequence[Extent | None], *, charge_closing: bool
) -> list[Floats]:
    length_GK = [np.zeros(0) if extent is None else extent.length_K for extent in extent_G]
    token_G = np.array([length_K.sum() for length_K in length_GK], np.float64)
    charges: list[Floats] = []
    for trace, price in enumerate(token_prices(progress_G, token_G).tolist()):
        closing = 0.0
        if charge_closing:
            others = [k for k, each in enumerate(return_G) if k != trace and each is not None and each.size]
            episodes = sum(each.size for k in others if (each := return_G[k]) is not None)
            closing = price * float(token_G[others].sum()) / episodes if episodes else 0.0
        charges.append(np.append(price * length_GK[trace], closing))
    return charges


def _at_index(trace: int, num_episodes: int, return_G: Sequence[Floats | None]) -> Floats:
    means = [float(each.mean()) for each in return_G if each is not None and each.size]
    baseline_K = np.full(num_episodes, float(np.mean(means)) if means else 0.0)
    others = [each for index, each in enumerate(return_G) if each is not None and index != trace]
    for j in range(num_episodes):
        if there := [each[j] for each in others if each.size > j]:
            baseline_K[j] = np.mean(there)
    return baseline_K
