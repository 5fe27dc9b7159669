"""The trainer side: OpenRLHF works its advantages out to the end, whitening included, and progress is added to them.

    advantages += α·(G[j] - b[j])      on the tokens of episode j; `returns` likewise

`gae` sums rewards up itself, so there progress goes in as rewards, and is `to_go`. Rows of prefixes are paid by
themselves, instead of what OpenRLHF worked out for the samples of one prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mrt_openrlhf.batch import SampleRow, left_out, spread, take_rows
from mrt_openrlhf.setup import WHERE, Setup
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import Floats
from mrt_reward.errors import ConfigError
from mrt_reward.training.advantages import (
    GroupScale,
    check_failures,
    failed_lapse,
    neutral_factors,
    neutral_outcomes,
    progress_advantages,
    progress_token_rewards,
)
from mrt_reward.training.metrics import batch_metrics, overhead_s, record_metrics
from mrt_reward.training.prefix import prefix_advantages, prefix_metrics
from mrt_reward.training.settings import TrainingSettings

NORM_EPSILON = 1e-9
"""What OpenRLHF's group_norm adds to the standard deviation."""
GROUP_SCALES: dict[str, GroupScale] = {"rloo": "leave_one_out", "group_norm": "std"}
"""Estimators that scale an outcome by its group."""

METRICS = "mrt_metrics"
"""Attribute of the experience maker that holds the metrics of its last batch."""


def extend_experience_maker(module: Any) -> None:  # noqa: ANN401 - of OpenRLHF
    """Make `RemoteExperienceMaker` of this module add progress; twice is as good as once."""
    maker = module.RemoteExperienceMaker
    original = maker.compute_advantages_and_returns
    if getattr(original, "adds_mrt", False):
        return

    @functools.wraps(original)
    def compute_advantages_and_returns(self: Any, experiences: list[Any]) -> list[Any]:  # noqa: ANN401
        setup = Setup.from_environment()
        args = self.strategy.args
        rows = take_rows(experiences, args.rollout.n_samples_per_prompt)
        work: Callable[[], list[Any]] = functools.partial(original, self, experiences)
        if setup.settings.mode == "prefix":
            metrics = _pay_prefixes(rows, setup.settings, args.algo.advantage.estimator, work)
        else:
            metrics = _pay_episodes(module, rows, setup, args.algo.advantage.estimator, work)
        setattr(self, METRICS, metrics)
        return experiences

    compute_advantages_and_returns.adds_mrt = True  # type: ignore[attr-defined]
    maker.compute_advantages_and_returns = compute_advantages_and_returns


def _pay_episodes(
    module: Any,  # noqa: ANN401 - of OpenRLHF
    rows: Sequence[SampleRow],
    setup: Setup,
    estimator: str,
    work: Callable[[], list[Any]],
) -> dict[str, float]:
    settings = setup.settings
    records = [row.record for row in rows]
    check_failures(records, settings.on_failure, settings.max_failed_share, WHERE)
    credit = credit_config(settings, estimator)
    groups = [row.group for row in rows]
    dropped = [settings.on_failure == "drop" and failed_lapse(record) is not None for record in records]
    # flash_reinforce compares with the whole batch, the others with the samples of the prompt or with nothing.
    compared = [0] * len(rows) if estimator == "flash_reinforce" else groups
    neutral_N = neutral_outcomes(np.array([row.record.outcome for row in rows]), compared, dropped)
    earned_NT = [progress_token_rewards(record, credit) for record in records] if estimator == "gae" else None
    num_mixed = 0
    with (
        left_out(rows, dropped, neutral_N),
        _rewards_changed(module, rows, _factors(groups, dropped, estimator), earned_NT),
    ):
        _worked_out(work(), rows)
    if estimator != "gae":
        paid = progress_advantages(records, groups, credit, settings.on_failure)
        num_mixed = paid.num_mixed
        _add(rows, paid.advantage_NT)
    for row, out in zip(rows, dropped, strict=True):
        if out:
            row.experience.advantages[row.row] = 0.0
            values = row.experience.values
            row.experience.returns[row.row] = 0.0 if values is None else values[row.row]
    metrics = batch_metrics(records, settings, settings.regret_budget or setup.max_response_tokens)
    how = record_metrics(records, overhead_s(records))
    return {**metrics, **how, "mrt/groups/mixed_versions": float(num_mixed)}


def _pay_prefixes(
    rows: Sequence[SampleRow],
    settings: TrainingSettings,
    estimator: str,
    work: Callable[[], list[Any]],
) -> dict[str, float]:
    _worked_out(work(), rows)
    records = [row.record for row in rows]
    credit = credit_config(settings, estimator)
    paid = prefix_advantages(records, credit, termination=settings.baseline == "termination")
    for experience, values in zip(_experiences(rows), spread(rows, paid, "advantages"), strict=True):
        experience.advantages, experience.returns = values, values.clone()
    return prefix_metrics(records)


def credit_config(settings: TrainingSettings, estimator: str) -> CreditConfig:
    """Core's configuration; OpenRLHF's estimator says whether outcome advantages are divided."""
    return settings.credit_config(scale_by_std=estimator == "group_norm", epsilon=NORM_EPSILON, singleton="zero")


def _experiences(rows: Sequence[SampleRow]) -> list[Any]:
    return list({id(row.experience): row.experience for row in rows}.values())


def _worked_out(done: Sequence[Any], rows: Sequence[SampleRow]) -> None:
    """See that OpenRLHF gave the same experiences back, with an advantage per action."""
    fields = [(each.advantages, each.returns, each.action_mask) for each in done]
    shapes = [[getattr(field, "shape", None) for field in each] for each in fields]
    if [id(each) for each in done] != [id(each) for each in _experiences(rows)] or any(
        len(set(each)) != 1 for each in shapes
    ):
        raise ConfigError(
            "expected OpenRLHF's compute_advantages_and_returns to fill advantages and returns of the experiences that "
            f"it was given, in the shape of their action masks; got {len(done)} with shapes {shapes}"
        )


def _add(rows: Sequence[SampleRow], value_NT: Sequence[Floats]) -> None:
    for experience, values in zip(_experiences(rows), spread(rows, value_NT, "advantages"), strict=True):
        experience.advantages = experience.advantages.float() + values
        experience.returns = experience.returns.float() + values


def _factors(groups: Sequence[int], dropped: Sequence[bool], estimator: str) -> list[float]:
    scale = GROUP_SCALES.get(estimator)
    return [1.0] * len(groups) if scale is None else neutral_factors(groups, dropped, scale)


@contextmanager
def _rewards_changed(
    module: Any,  # noqa: ANN401 - of OpenRLHF
    rows: Sequence[SampleRow],
    factor_N: Sequence[float],
    earned_NT: Sequence[Floats] | None,
) -> Generator[None]:
    """While OpenRLHF works out advantages: a factor on the rows' outcomes, and if wanted rewards of tokens added.

    OpenRLHF makes rewards of tokens from the outcomes of an experience by one call of `compute_reward`.
    """
    original = module.compute_reward
    experiences = _experiences(rows)
    factors = [
        torch.tensor([factor for row, factor in zip(rows, factor_N, strict=True) if row.experience is experience])
        for experience in experiences
    ]
    earned = [None] * len(experiences) if earned_NT is None else spread(rows, earned_NT, "action_mask")
    left = list(zip(factors, earned, strict=True))

    @functools.wraps(original)
    def compute_reward(r: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - OpenRLHF's own
        factor_B, earned_BA = left.pop(0) if left else (torch.empty(0), None)
        _expect(len(experiences), "outcomes", factor_B.shape, r.shape)
        reward: torch.Tensor = original(r * factor_B.to(r), *args, **kwargs)
        if earned_BA is None:
            return reward
        _expect(len(experiences), "rewards of tokens", earned_BA.shape, reward.shape)
        return reward.float() + earned_BA

    module.compute_reward = compute_reward
    try:
        yield
    finally:
        module.compute_reward = original
    if left:
        raise ConfigError(
            f"expected {len(experiences)} calls of compute_reward, got {len(experiences) - len(left)}; OpenRLHF's "
            "experience maker has changed"
        )


def _expect(num_calls: int, what: str, wanted: torch.Size, got: torch.Size) -> None:
    if wanted != got:
        raise ConfigError(
            f"expected compute_reward to be called once for each of {num_calls} experiences, in order, with {what} of "
            f"shape {tuple(wanted)}, got {tuple(got)}; OpenRLHF's experience maker has changed"
        )
