"""A batch's records to advantages per token, by `core/credit.py`.

Dimension key: N rows of the batch · G rows of a group · T tokens of a row.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mrt_reward.core.credit import Credit, credit, token_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import Floats, progress_rewards
from mrt_reward.errors import ProverError
from mrt_reward.training.records import Lapse, Record
from mrt_reward.training.settings import OnFailure

logger = logging.getLogger(__name__)

MIN_UNTHINKING = 4
"""Traces of a batch that say something about the policy where none of them thinks."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What a batch is paid.

    Attributes:
        advantage_NT: for each row, the advantage of each of its tokens.
        num_mixed: groups whose traces were scored by more than one prover, which have no progress baseline.

    """

    advantage_NT: list[Floats]
    num_mixed: int


def batch_advantages(
    records: Sequence[Record], groups: Sequence[Hashable], config: CreditConfig, on_failure: OnFailure
) -> Paid:
    """Advantages of a batch.

    Args:
        records: one per row.
        groups: the group of each row.
        config: how progress becomes credit.
        on_failure: `drop` leaves rows that have no score out of their group and pays them nothing; otherwise they are
            paid their outcome advantage.

    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    advantage_NT: list[Floats] = [np.zeros(0)] * len(records)
    num_mixed = 0
    for rows in members.values():
        here = [records[row] for row in rows]
        mixed = len({record.scored.version for record in here if record.scored}) > 1
        num_mixed += mixed
        # Values of two provers share no baseline; scored apart, each trace's own progress is still its own.
        used = replace(config, baseline="none", progress_norm="none", charge_closing=False) if mixed else config
        values = [None if record.scored is None else record.scored.value_P for record in here]
        extents = [None if record.scored is None else record.scored.extent for record in here]
        paid = credit([_outcome(record, on_failure) for record in here], values, used, extents)
        for row, record, each in zip(rows, here, paid, strict=True):
            advantage_NT[row] = _spread(record, each)
    return Paid(advantage_NT, num_mixed)


def progress_advantages(
    records: Sequence[Record], groups: Sequence[Hashable], config: CreditConfig, on_failure: OnFailure
) -> Paid:
    """What progress adds to the advantages that a trainer works out from outcomes by itself.

        α·(G[j] - b[j])      on the tokens of episode j, and with `answer_progress: add` α·(r - J[K]) on the answer's

    Args:
        records: one per row.
        groups: the group of each row.
        config: how progress becomes credit. What it says of the outcome has no effect, unless `truncated` changes the
            outcome of traces that were cut off: then it must say how the trainer's own advantage is made.
        on_failure: `drop` leaves rows that have no score out of progress baselines.

    Returns:
        Zero on every token where `alpha` is 0 and `truncated` zero; added to the outcome advantage, it is
        `batch_advantages`.

    """
    paid = batch_advantages(records, groups, config, on_failure)
    without = batch_advantages(records, groups, replace(config, alpha=0.0, truncated="zero"), on_failure)
    added = [whole - outcome for whole, outcome in zip(paid.advantage_NT, without.advantage_NT, strict=True)]
    return Paid(added, paid.num_mixed)


def progress_token_rewards(record: Record, config: CreditConfig) -> Floats:
    """Progress as rewards of tokens, for a trainer that sums rewards up itself: `to_go` without a baseline.

    Args:
        record: of one row.
        config: for `alpha`, the scale of progress and `answer_progress`.

    Returns:
        `reward_T`: α·r_prg[j] on the last token of episode j, and with `answer_progress: add` α·(r - J[K]) on the last
        token of all. What is still to come at a token of episode j is its `to_go` credit at γ = 1.

    """
    reward_T = np.zeros(record.num_tokens)
    scored = record.scored
    if scored is None:
        return reward_T
    progress_K = progress_rewards(config.levels(scored.value_P))
    for end, progress in zip(scored.ends, progress_K.tolist(), strict=True):
        reward_T[end - 1] += config.alpha * progress
    if config.answer_progress == "add" and record.num_tokens:
        reward_T[-1] += config.alpha * (record.outcome - float(scored.value_P[-1]))
    return reward_T


def neutral_outcomes(outcome_N: Floats, groups: Sequence[Hashable], dropped: Sequence[bool]) -> Floats:
    """Outcomes in which a dropped row has the mean of the others of its group, so that it moves no mean.

    It has zero where nothing of its group is left.
    """
    neutral_N = np.array(outcome_N)
    for row, group in enumerate(groups):
        if dropped[row]:
            others = [other for other, each in enumerate(groups) if each == group and not dropped[other]]
            neutral_N[row] = outcome_N[others].mean() if others else 0.0
    return neutral_N


GroupScale = Literal["leave_one_out", "std"]


def neutral_factors(groups: Sequence[Hashable], dropped: Sequence[bool], scale: GroupScale) -> list[float]:
    """What turns an advantage within n rows, the dropped ones neutral, into that within the k rows that are left.

    With `neutral_outcomes` r - mean is right as it is; what it is multiplied by is still that of n rows: n / (n - 1)
    for `leave_one_out`, and √(n - 1) over a root of squares for `std`.

    Returns:
        One factor per row, at least 0; 0 where a row is left with nobody to be compared with.

    """
    size, kept = Counter(groups), Counter(group for group, out in zip(groups, dropped, strict=True) if not out)

    def factor(n: int, k: int) -> float:
        if k in (0, n):
            return 1.0
        if scale == "std":
            return math.sqrt((k - 1) / (n - 1))
        return (k / (k - 1)) * ((n - 1) / n) if k > 1 else 0.0

    of_group = {group: factor(n, kept[group]) for group, n in size.items()}
    return [of_group[group] for group in groups]


def check_failures(records: Sequence[Record], on_failure: OnFailure, max_failed_share: float, where: str) -> None:
    """Stop a run whose progress is missing, and warn of one whose policy does not think.

    Raises:
        ProverError: more of the batch failed than is allowed, or anything where the policy is `abort`.

    """
    if len(records) >= MIN_UNTHINKING and all(record.lapse is Lapse.NO_THINKING for record in records):
        logger.warning(
            "mrt: none of the %d traces of this batch thinks, so that nothing is paid for progress: train a model that "
            "writes its thinking between delimiters, or set %s.delimiters to those that it writes",
            len(records),
            where,
        )
    failed = [record.lapse for record in records if failed_lapse(record)]
    most = 0.0 if on_failure == "abort" else max_failed_share
    if not failed or len(failed) / len(records) <= most:
        return
    counts = {lapse.name.lower(): failed.count(lapse) for lapse in Lapse if lapse in failed}
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    raise ProverError(
        f"{len(failed)} of {len(records)} traces of this batch have no progress ({listed}); at most "
        f"{most:.0%} may fail ({where}.on_failure={on_failure}, {where}.max_failed_share={max_failed_share:g}). "
        "Look at the workers' log for the reasons, and check the server with `mrt-reward doctor` and its /readyz",
        code="too_many_failures",
    )


def failed_lapse(record: Record) -> Lapse | None:
    """Why a record has no progress although it should."""
    return record.lapse if record.lapse is not None and record.lapse.failed else None


def _outcome(record: Record, on_failure: OnFailure) -> float | None:
    """What credit takes for its outcome; None where it is left out of its group."""
    dropped = on_failure == "drop" and failed_lapse(record) is not None
    return None if dropped or not np.isfinite(record.outcome) else record.outcome


def _spread(record: Record, paid: Credit) -> Floats:
    scored = record.scored
    if scored is None or not scored.ends:
        return np.full(record.num_tokens, paid.outcome_advantage or 0.0)
    answer_start = record.num_tokens if scored.cut_off else scored.ends[-1]
    return token_advantages(paid, scored.spans, answer_start, record.num_tokens)
