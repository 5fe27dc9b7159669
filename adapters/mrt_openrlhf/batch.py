"""A training batch of OpenRLHF's as rows of what was scored.

Dimension key: N rows of the batch · T tokens that the policy wrote in a row · A slots of an experience's action mask.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mrt_openrlhf.payload import KEY, unpack
from mrt_reward.core.progress import Floats
from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.training.records import Record


@dataclass(frozen=True)
class SampleRow:
    """One sample of a batch.

    Attributes:
        experience: that it is in.
        row: its row there.
        places_T: where its tokens are among the A slots of the action mask.
        group: of the samples of one prompt.
        record: what it came to, with the user's own reward.

    """

    experience: Any
    row: int
    at_T: NDArray[np.int64]
    group: int
    record: Record


def take_rows(experiences: Sequence[Any], samples_per_prompt: int) -> list[SampleRow]:
    """Rows of a batch in its order; what was carried is taken out of the experiences, which log the rest.

    Raises:
        ConfigError: OpenRLHF carried something else than it used to.
        TraceError: a reward is not a number.

    """
    rows: list[SampleRow] = []
    for experience in experiences:
        carried = experience.info.pop(KEY, None)
        size = len(experience.sequences)
        if carried is None or carried.ndim != 2 or len(carried) != size:
            came = "nothing" if carried is None else f"shape {tuple(carried.shape)}"
            raise ConfigError(
                f"expected one row of progress per sample, ({size}, …), in info[{KEY!r}] of an experience, got {came}: "
                "OpenRLHF carries extra_logs in another way than 0.11.2 does, or another agent made a sample"
            )
        if not len(experience.index) == experience.rewards.numel() == len(experience.action_mask) == size:
            raise ConfigError(
                f"expected an index, a reward and an action mask for each of {size} samples, got "
                f"{len(experience.index)}, {experience.rewards.numel()} and {len(experience.action_mask)}: OpenRLHF's "
                "experiences have changed"
            )
        for row, numbers in enumerate(carried.tolist()):
            at_T = np.flatnonzero(experience.action_mask[row].cpu().numpy())
            rows.append(_row(experience, row, at_T, numbers, samples_per_prompt))
    if sorted(index for experience in experiences for index in experience.index) != list(range(len(rows))):
        raise ConfigError(
            f"expected the indices 0 to {len(rows) - 1} once each: OpenRLHF numbers its samples in another way"
        )
    return rows


def _row(  # one sample's fields
    experience: Any,  # noqa: ANN401 - OpenRLHF's
    row: int,
    at_T: NDArray[np.int64],
    numbers: Sequence[float],
    samples_per_prompt: int,
) -> SampleRow:
    index, outcome = int(experience.index[row]), float(experience.rewards[row])
    if not np.isfinite(outcome):
        raise TraceError(f"the reward of sample {index} is {outcome}: expected a finite number of your reward function")
    try:
        record, num_tokens = unpack(numbers)
    except ValueError as error:
        raise ConfigError(f"sample {index} brought no record of its scoring: {error}") from error
    if num_tokens != len(at_T):
        raise ConfigError(
            f"sample {index} was scored as {num_tokens} tokens, and its action mask has {len(at_T)}: OpenRLHF cuts "
            "samples in another way than 0.11.2 does"
        )
    return SampleRow(experience, row, at_T, index // samples_per_prompt, record.rewarded(outcome, num_tokens))


@contextmanager
def left_out(rows: Sequence[SampleRow], dropped: Sequence[bool], neutral_N: Floats) -> Generator[None]:
    """While OpenRLHF works out advantages, dropped rows move no mean: neither of rewards nor of advantages."""
    kept = [(row, row.experience.rewards, row.experience.action_mask) for row in rows]
    for row, out, neutral in zip(rows, dropped, neutral_N.tolist(), strict=True):
        if out:
            experience = row.experience
            experience.rewards = _with(experience.rewards, row.row, neutral)
            experience.action_mask = _with(experience.action_mask, row.row, 0)
    try:
        yield
    finally:
        for row, rewards, mask in kept:
            row.experience.rewards, row.experience.action_mask = rewards, mask


def _with(tensor: torch.Tensor, row: int, value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[row] = value
    return changed


def spread(rows: Sequence[SampleRow], value_NT: Sequence[Floats], like: str) -> list[torch.Tensor]:
    """Values of the rows' tokens as one tensor per experience, of shape (B, A), zero where nobody wrote.

    Args:
        rows: of a batch.
        value_NT: for each row, a value per token.
        like: field of the experience that has the shape.

    """
    tensors: dict[int, torch.Tensor] = {}
    for row, value_T in zip(rows, value_NT, strict=True):
        field = getattr(row.experience, like)
        tensor = tensors.setdefault(id(row.experience), torch.zeros(field.shape, dtype=torch.float32))
        tensor[row.row, torch.from_numpy(row.at_T)] = torch.from_numpy(np.asarray(value_T, np.float32))
    return list(tensors.values())
