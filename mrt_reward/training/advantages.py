"""A batch's readings to advantages per token, by `core/credit.py`.

Dimension key: N rows of the batch · G rows of a group · T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.core.credit import Credit, CreditConfig, CreditTrace, Floats, credit, token_advantages
from mrt_reward.errors import ProverError
from mrt_reward.training.marks import Lapse, Reading
from mrt_reward.training.settings import OnFailure


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
    readings: Sequence[Reading], groups: Sequence[Hashable], config: CreditConfig, on_failure: OnFailure
) -> Paid:
    """Advantages of a batch.

    Args:
        readings: one per row.
        groups: the group of each row.
        config: how progress becomes credit.
        on_failure: `drop` leaves rows that have no score out of their group and pays them nothing; otherwise they are
            paid their outcome advantage.

    """
    credits_N, num_mixed = _credits(readings, groups, config, on_failure)
    return Paid([_spread(reading, each) for reading, each in zip(readings, credits_N, strict=True)], num_mixed)


def progress_advantages(
    readings: Sequence[Reading], groups: Sequence[Hashable], config: CreditConfig, on_failure: OnFailure
) -> Paid:
    """What progress adds, where the trainer has worked out the advantage of the outcome itself.

        α·(G[j] - b[j])      on the tokens of episode j, and zero elsewhere

    That is `batch_advantages` less A_outcome; with `answer_progress: add` the answer's tokens get α·(r - J[K]). With
    `alpha` 0 it is zero exactly.

    Args:
        readings: one per row.
        groups: the group of each row.
        config: how progress becomes credit; how it treats the outcome does not matter.
        on_failure: `drop` leaves rows that have no score out of their group. They are paid nothing here, and the
            trainer must leave them out of its own.

    """
    credits_N, num_mixed = _credits(readings, groups, config, on_failure)
    added = [_less_outcome(each) for each in credits_N]
    return Paid([_spread(reading, each) for reading, each in zip(readings, added, strict=True)], num_mixed)


def check_failures(readings: Sequence[Reading], on_failure: OnFailure, max_failed_share: float, where: str) -> None:
    """Stop a run whose progress is missing.

    Raises:
        ProverError: more of the batch failed than is allowed, or anything where the policy is `abort`.

    """
    failed = [reading.lapse for reading in readings if failed_lapse(reading)]
    most = 0.0 if on_failure == "abort" else max_failed_share
    if not failed or len(failed) / len(readings) <= most:
        return
    counts = {lapse.name.lower(): failed.count(lapse) for lapse in Lapse if lapse in failed}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    raise ProverError(
        f"{len(failed)} of {len(readings)} traces of this batch have no progress ({told}); at most "
        f"{most:.0%} may fail ({where}.on_failure={on_failure}, {where}.max_failed_share={max_failed_share:g}). "
        "Look at the workers' log for the reasons, and check the server with `mrt-reward doctor` and its /readyz",
        code="too_many_failures",
    )


def failed_lapse(reading: Reading) -> Lapse | None:
    """Why a reading has no progress although it should."""
    return reading.lapse if reading.lapse is not None and reading.lapse.failed else None


def _credits(
    readings: Sequence[Reading], groups: Sequence[Hashable], config: CreditConfig, on_failure: OnFailure
) -> tuple[list[Credit], int]:
    """Credit of each row, and how many groups were scored by more than one prover."""
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    credit_of: dict[int, Credit] = {}
    num_mixed = 0
    for rows in members.values():
        here = [readings[row] for row in rows]
        mixed = len({reading.scored.version for reading in here if reading.scored}) > 1
        num_mixed += mixed
        # Values of two provers share no baseline; scored apart, each trace's own progress is still its own.
        used = replace(config, baseline="none", progress_norm="none") if mixed else config
        credit_of.update(zip(rows, credit([_credit_trace(reading, on_failure) for reading in here], used), strict=True))
    return [credit_of[row] for row in range(len(readings))], num_mixed


def _less_outcome(paid: Credit) -> Credit:
    """The same without A_outcome."""
    outcome = paid.outcome or 0.0
    return replace(paid, outcome=0.0, episode_K=paid.episode_K - outcome, answer=paid.answer - outcome)


def _credit_trace(reading: Reading, on_failure: OnFailure) -> CreditTrace:
    dropped = on_failure == "drop" and failed_lapse(reading) is not None
    outcome = None if dropped or not np.isfinite(reading.outcome) else reading.outcome
    return CreditTrace(outcome, None if reading.scored is None else reading.scored.value_P)


def _spread(reading: Reading, paid: Credit) -> Floats:
    scored = reading.scored
    if scored is None or not scored.ends:
        return np.full(reading.num_tokens, 0.0 if paid.outcome is None else paid.outcome)
    answer_start = reading.num_tokens if scored.cut_off else scored.ends[-1]
    return token_advantages(paid, scored.spans, answer_start, reading.num_tokens)
