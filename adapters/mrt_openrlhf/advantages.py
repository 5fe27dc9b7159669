"""The trainer side: OpenRLHF works its advantages out to the end, whitening included, and progress is added to them.

    advantages += α·(G[j] - b[j])      on the tokens of episode j; `returns` likewise

`gae` sums rewards up itself, so there progress goes in as rewards, and is `to_go`. Rows of prefixes are paid by
themselves, in place of what OpenRLHF worked out for the samples of one prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mrt_openrlhf.batch import Row, left_out, spread, take_rows
from mrt_openrlhf.setup import WHERE, Setup
from mrt_reward.core.credit import CreditConfig, Floats
from mrt_reward.errors import ConfigError
from mrt_reward.training.advantages import (
    check_failures,
    failed_lapse,
    neutral_outcomes,
    progress_advantages,
    progress_token_rewards,
)
from mrt_reward.training.metrics import batch_metrics, record_metrics
from mrt_reward.training.prefix import prefix_advantages, prefix_metrics
from mrt_reward.training.settings import TrainingSettings

NORM_EPSILON = 1e-9
"""What OpenRLHF's group_norm adds to the standard deviation."""

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
    rows: Sequence[Row],
    setup: Setup,
    estimator: str,
    work: Callable[[], list[Any]],
) -> dict[str, float]:
    settings = setup.settings
    readings = [row.reading for row in rows]
    check_failures(readings, settings.on_failure, settings.max_failed_share, WHERE)
    credit = credit_config(settings, estimator)
    groups = [row.group for row in rows]
    dropped = [settings.on_failure == "drop" and failed_lapse(reading) is not None for reading in readings]
    # flash_reinforce compares with the whole batch, the others with the samples of the prompt or with nothing.
    compared = [0] * len(rows) if estimator == "flash_reinforce" else groups
    neutral_N = neutral_outcomes(np.array([row.outcome for row in rows]), compared, dropped)
    num_mixed = 0
    with left_out(rows, dropped, neutral_N):
        if estimator == "gae":
            dense = spread(rows, [progress_token_rewards(reading, credit) for reading in readings], "action_mask")
            with _rewards_added(module, dense):
                _worked_out(work(), rows)
        else:
            _worked_out(work(), rows)
            paid = progress_advantages(readings, groups, credit, settings.on_failure)
            num_mixed = paid.num_mixed
            _add(rows, paid.advantage_NT)
    for row, out in zip(rows, dropped, strict=True):
        if out:
            row.experience.advantages[row.place] = 0.0
            values = row.experience.values
            row.experience.returns[row.place] = 0.0 if values is None else values[row.place]
    metrics = batch_metrics(readings, settings, settings.regret_budget or setup.max_response_tokens)
    records = record_metrics([row.record for row in rows])
    return {**metrics, **records, "mrt/groups/mixed_versions": float(num_mixed)}


def _pay_prefixes(
    rows: Sequence[Row],
    settings: TrainingSettings,
    estimator: str,
    work: Callable[[], list[Any]],
) -> dict[str, float]:
    _worked_out(work(), rows)
    readings = [row.prefix_reading for row in rows]
    credit = credit_config(settings, estimator)
    paid = prefix_advantages(readings, credit, termination=settings.baseline == "termination")
    for experience, values in zip(_experiences(rows), spread(rows, paid, "advantages"), strict=True):
        experience.advantages, experience.returns = values, values.clone()
    return prefix_metrics(readings)


def credit_config(settings: TrainingSettings, estimator: str) -> CreditConfig:
    """Core's configuration; OpenRLHF's estimator says whether outcome advantages are divided."""
    return settings.credit_config(scale_by_std=estimator == "group_norm", epsilon=NORM_EPSILON, singleton="zero")


def _experiences(rows: Sequence[Row]) -> list[Any]:
    return list({id(row.experience): row.experience for row in rows}.values())


def _worked_out(done: Sequence[Any], rows: Sequence[Row]) -> None:
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


def _add(rows: Sequence[Row], value_NT: Sequence[Floats]) -> None:
    for experience, values in zip(_experiences(rows), spread(rows, value_NT, "advantages"), strict=True):
        experience.advantages = experience.advantages.float() + values
        experience.returns = experience.returns.float() + values


@contextmanager
def _rewards_added(module: Any, dense: Sequence[torch.Tensor]) -> Generator[None]:  # noqa: ANN401 - of OpenRLHF
    """While OpenRLHF works out advantages, its rewards of tokens have these added, one call per experience."""
    original = module.compute_reward
    left = list(dense)

    @functools.wraps(original)
    def compute_reward(*args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401 - OpenRLHF's own
        reward: torch.Tensor = original(*args, **kwargs)
        if not left or left[0].shape != reward.shape:
            wanted = f"shape {tuple(left[0].shape)}" if left else "no further call"
            raise ConfigError(
                f"expected compute_reward to be called once for each of {len(dense)} experiences, in order: {wanted}, "
                f"got shape {tuple(reward.shape)}; OpenRLHF's experience maker has changed"
            )
        return reward.float() + left.pop(0)

    module.compute_reward = compute_reward
    try:
        yield
    finally:
        module.compute_reward = original
    if left:
        raise ConfigError(f"expected {len(dense)} calls of compute_reward, got {len(dense) - len(left)}")
