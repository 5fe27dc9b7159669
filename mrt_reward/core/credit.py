"""From progress to advantages: what each token of a trace is paid.

    A_t = A_outcome + α·(G[j] - b[j])      for the tokens of episode j

where G is of progress on the scale that is chosen (`core.scale`): of J, or of log J in nats.

With `pay_ending` the token that ends an episode, the first of the next one or of the closing delimiter, gets the bonus
of that episode on top of its own: where an episode ends is decided by the token that follows it. Paid without it, a
rising episode is drawn out, because going on within it is paid and ending it is not, as far as never closing.

The opening delimiter and what stands before it get A_outcome; the closing delimiter belongs to the answer, whose tokens
get A_outcome and, if asked, α·(r - J[K]). `immediate` is the paper's gradient, where progress is a bonus on its own
episode; `to_go` pays each episode for all that follows as well, and `anytime` for what comes in time. They are
different algorithms. `group` is a price per episode and `rate` one per token: closing is not charged (`core.prices`).

Dimension key: G traces of a group · K episodes · P = K + 1 values, or their levels · T tokens. NaN marks what is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mrt_reward.core.anytime import anytime_returns, point_weights, trapezoid_weights, uniform_weights
from mrt_reward.core.baselines import Extent, baselines
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import Floats, nan_array, progress_rewards
from mrt_reward.types import Span

NO_SPREAD = 1e-6
"""Progress whose standard deviation is below this does not vary: what is left is rounding, which division by it would
blow up, because progress without a baseline is not centred."""


@dataclass(frozen=True, slots=True)
class Credit:
    """What one trace is paid.

    Attributes:
        outcome_advantage: A_outcome; also of everything before the first episode. None when the outcome is not known:
            mask the trace.
        episode_advantage_K: full advantage of each episode's tokens; A_outcome where progress is missing.
        answer_advantage: of the answer's tokens, closing delimiter included.
        closing_advantage: of the answer's first token, where thinking is closed; another one than the answer's where
            closing has a baseline of its own.
        ending_bonus_K: of the token behind each episode, on top of what it is paid already; zero unless `pay_ending`.
        scored: whether its outcome and all of its values are there.

    """

    outcome_advantage: float | None
    episode_advantage_K: Floats
    answer_advantage: float
    closing_advantage: float
    ending_bonus_K: Floats
    scored: bool


def outcome_advantages(outcome_G: Floats, config: CreditConfig) -> Floats:
    """Group-relative advantage of the outcome reward.

        A = (r - mean r) / (std r + ε)      or without the division

    Args:
        outcome_G: rewards of one group; NaN where not known.
        config: `scale_by_std`, `epsilon`, `singleton`.

    Returns:
        `advantage_G`; NaN where the reward is. All zero when the rewards do not vary. A trace that is alone keeps its
        raw reward (as veRL does) or gets zero.

    """
    known_G = np.isfinite(outcome_G)
    advantage_G = np.full(outcome_G.shape, np.nan)
    reward_N = outcome_G[known_G]
    if reward_N.size == 1:
        advantage_G[known_G] = reward_N if config.singleton == "raw" else 0.0
    elif reward_N.size:
        centred_N = reward_N - reward_N.mean()
        scale = reward_N.std(ddof=1) + config.epsilon if config.scale_by_std else 1.0
        # Equal rewards leave rounding noise, which a tiny ε would blow up.
        advantage_G[known_G] = 0.0 if np.ptp(reward_N) == 0 else centred_N / scale
    return advantage_G


def termination_advantage(outcome: float, value_prefix: float) -> float:
    """Of a row that starts from a prefix, against answering there: A = r - J(prefix), not divided by anything."""
    return outcome - value_prefix


def returns(level_P: Floats, outcome: float, config: CreditConfig, extent: Extent | None = None) -> Floats:
    """G of each episode, before baselines; of J, or of what `config.levels` makes of it.

    Under `to_go`, `answer_progress: add` appends the answer's own progress r - J[K] to the sum. With γ = 1 and without
    it, `G[j] = J[K] - J[j]`; with it, `G[j] = r - J[j]`. `anytime` needs to know where the prefixes end.

    Returns:
        `return_K`, NaN where it is missing.

    """
    progress_K = progress_rewards(level_P)
    if config.credit == "immediate":
        return progress_K
    if config.credit == "anytime":
        return anytime_returns(progress_K, _weights(extent, config))
    follows = outcome - level_P[-1] if config.answer_progress == "add" else 0.0
    return_K = np.empty_like(progress_K)
    for j in range(progress_K.size - 1, -1, -1):
        follows = return_K[j] = progress_K[j] + config.gamma * follows
    return return_K


def _weights(extent: Extent | None, config: CreditConfig) -> Floats:
    budget = config.anytime_budget
    if extent is None or extent.token_P is None or budget is None:
        raise ValueError("anytime needs a budget, and to know where the prefixes end")
    match config.anytime_weights:
        case "uniform":
            return uniform_weights(extent.token_P, budget)
        case "trapezoid":
            return trapezoid_weights(extent.token_P, budget)
        case "quarters":
            return point_weights(extent.token_P, budget * np.arange(1, 5) / 4, np.full(4, 0.25))


def rewards(
    outcome_G: Sequence[float | None],
    value_GP: Sequence[Floats | None],
    extent_G: Sequence[Extent | None],
    config: CreditConfig,
) -> list[float | None]:
    """Outcomes with `truncated` applied: what a trace that was cut off is paid for an answer that it never gave.

    `forced` adds J[K], so that what a trainer takes off the outcome, such as a price of length, stays; a cut-off trace
    whose last value is missing has no reward then. None is left out of everything.
    """
    return_G: list[float | None] = []
    for outcome, value_P, extent in zip(outcome_G, value_GP, extent_G, strict=True):
        cut_off = extent is not None and extent.cut_off is True
        if config.truncated == "zero" or outcome is None or not cut_off:
            return_G.append(outcome)
        elif config.truncated == "masked" or value_P is None or np.isnan(value_P[-1]):
            return_G.append(None)
        else:
            return_G.append(outcome + float(value_P[-1]))
    return return_G


def credit(
    outcome_G: Sequence[float | None],
    value_GP: Sequence[Floats | None],
    config: CreditConfig,
    extent_G: Sequence[Extent | None] | None = None,
) -> tuple[Credit, ...]:
    """Advantages of a group of traces of one problem.

    Traces without an outcome are paid nothing; traces without complete values are paid their outcome advantage on every
    token whose progress is missing, and are left out of progress baselines. With `alpha` 0 all tokens get A_outcome.

    Args:
        outcome_G: reward r of each trace; None where it is not known, and then the trace counts in no baseline.
        value_GP: J of each trace's prefixes, NaN where missing (see `values_of`); None where it was not scored.
        config: how progress becomes credit.
        extent_G: where each trace's prefixes end; None where that is not known; see `needs_tokens`, `needs_ending`.

    Raises:
        ValueError: an outcome is NaN or infinite, so that a failed reward was passed off as one; a `value_P` is not of
            shape (P,) with P >= 1, or infinite; there are not as many of them as outcomes; or what has to be known
            of where a scored trace ends is not.

    """
    extent_G = [None] * len(outcome_G) if extent_G is None else extent_G
    _check_group(outcome_G, value_GP)
    _check_extents(value_GP, extent_G, config)
    reward_G = rewards(outcome_G, value_GP, extent_G, config)
    advantage_G = outcome_advantages(nan_array(reward_G), config)
    level_GP = [None if value_P is None else config.levels(value_P) for value_P in value_GP]
    returns_G = [
        None if level_P is None or reward is None else returns(level_P, reward, config, extent)
        for reward, level_P, extent in zip(reward_G, level_GP, extent_G, strict=True)
    ]
    complete = [None if each is None or np.isnan(each).any() else each for each in returns_G]
    baseline_GP = baselines(complete, level_GP, extent_G, config)
    scale = _progress_scale(complete, config)
    weight_GK = _length_weights(level_GP, extent_G, config)
    paid: list[Credit] = []
    for index, (reward, value_P) in enumerate(zip(reward_G, value_GP, strict=True)):
        num_episodes = 0 if value_P is None else value_P.size - 1
        if reward is None:
            nothing_K = np.zeros(num_episodes)
            paid.append(Credit(None, nothing_K, 0.0, 0.0, nothing_K, scored=False))
            continue
        advantage, return_K, bonus_K = float(advantage_G[index]), returns_G[index], np.zeros(num_episodes)
        closing = 0.0
        if return_K is not None:
            baseline_P = baseline_GP[index]
            bonus_K = np.where(np.isnan(return_K), 0.0, config.alpha * (return_K - baseline_P[:-1]) / scale)
            bonus_K *= weight_GK[index]
            closing = config.alpha * (0.0 - float(baseline_P[-1])) / scale
        answer = advantage + config.alpha * _answer_progress(reward, value_P, config)
        scored = value_P is not None and not np.isnan(value_P).any()
        ending_K = bonus_K if config.pay_ending else np.zeros(num_episodes)
        paid.append(Credit(advantage, advantage + bonus_K, answer, answer + closing, ending_K, scored=bool(scored)))
    return tuple(paid)


def _check_extents(value_GP: Sequence[Floats | None], extent_G: Sequence[Extent | None], config: CreditConfig) -> None:
    if len(extent_G) != len(value_GP):
        raise ValueError(f"expected one extent for each trace, got {len(extent_G)} for {len(value_GP)}")
    for value_P, extent in zip(value_GP, extent_G, strict=True):
        if value_P is None:
            continue
        if config.needs_tokens and (extent is None or extent.token_P is None or extent.token_P.size != value_P.size):
            raise ValueError(
                f"credit {config.credit} with baseline {config.baseline} and length_norm {config.length_norm} needs "
                "the tokens of every episode, `token_start` and `token_end`, of each trace that has values"
            )
        if config.needs_ending and (extent is None or extent.cut_off is None):
            raise ValueError(
                f"truncated {config.truncated} with baseline {config.baseline} needs to know of each trace that has "
                "values whether it was cut off while thinking, `truncated`"
            )


def _check_group(outcome_G: Sequence[float | None], value_GP: Sequence[Floats | None]) -> None:
    if len(outcome_G) != len(value_GP):
        raise ValueError(f"expected one value_P for each outcome, got {len(value_GP)} for {len(outcome_G)}")
    for outcome in outcome_G:
        if outcome is not None and not np.isfinite(outcome):
            raise ValueError(f"outcome must be finite, or None where it is not known; got {outcome}")
    for value_P in value_GP:
        if value_P is not None and (value_P.ndim != 1 or value_P.size == 0 or np.isinf(value_P).any()):
            raise ValueError(f"value_P must have shape (P,) with P >= 1 and no infinities, got {value_P}")


def _answer_progress(outcome: float, value_P: Floats | None, config: CreditConfig) -> float:
    """Answer's own r - J[K], unbaselined; zero where it is not asked for or not known."""
    if config.answer_progress == "none" or value_P is None or np.isnan(value_P[-1]):
        return 0.0
    return outcome - float(value_P[-1])


def _progress_scale(complete: Sequence[Floats | None], config: CreditConfig) -> float:
    pooled = [each for each in complete if each is not None]
    if config.progress_norm == "none" or sum(each.size for each in pooled) < 2:
        return 1.0
    spread = float(np.concatenate(pooled).std(ddof=1))
    return spread + config.epsilon if spread > NO_SPREAD else 1.0


def _length_weights(
    level_GP: Sequence[Floats | None], extent_G: Sequence[Extent | None], config: CreditConfig
) -> list[Floats]:
    """What each episode's bonus is multiplied with: mean tokens of the group's episodes over its own."""
    size_G = [0 if level_P is None else level_P.size - 1 for level_P in level_GP]
    if config.length_norm == "none":
        return [np.ones(size) for size in size_G]
    length_GK = [
        np.maximum(extent.length_K, 1.0) if extent is not None and size else np.ones(0)
        for extent, size in zip(extent_G, size_G, strict=True)
    ]
    mean = float(np.concatenate(length_GK).mean()) if sum(size_G) else 1.0
    return [mean / length_K for length_K in length_GK]


def token_advantages(paid: Credit, spans_K: Sequence[Span], answer_start: int, num_tokens: int) -> Floats:
    """Spread one trace's credit over its tokens.

    Args:
        paid: one trace's record from `credit`.
        spans_K: token span of each episode, in order.
        answer_start: first token of the closing delimiter; `num_tokens` when the trace was cut off while thinking.
        num_tokens: length T of the response, in tokens.

    Returns:
        `advantage_T`; zero everywhere for a trace whose outcome is not known.

    Raises:
        ValueError: spans do not match the episodes, overlap, are out of order or leave the trace.

    """
    if len(spans_K) != paid.episode_advantage_K.size:
        raise ValueError(f"expected {paid.episode_advantage_K.size} spans, one per episode, got {len(spans_K)}")
    if any(span.start < 0 or span.end > num_tokens for span in spans_K) or not 0 <= answer_start <= num_tokens:
        raise ValueError(f"spans and answer_start must lie within {num_tokens} tokens, got {spans_K}, {answer_start}")
    bounds = [bound for span in spans_K for bound in (span.start, span.end)]
    if any(after < before for before, after in pairwise(bounds)):
        raise ValueError(f"spans must be in order and must not overlap, got {spans_K}")
    advantage_T = np.full(num_tokens, paid.outcome_advantage or 0.0)
    for span, advantage in zip(spans_K, paid.episode_advantage_K.tolist(), strict=True):
        advantage_T[span.start : span.end] = advantage
    advantage_T[answer_start:] = paid.answer_advantage
    advantage_T[answer_start : answer_start + 1] = paid.closing_advantage
    for span, bonus in zip(spans_K, paid.ending_bonus_K.tolist(), strict=True):
        advantage_T[span.end : span.end + 1] += bonus
    return advantage_T
