"""TRL's rows as the package knows them: which are whose, what was answered, and what it earned.

Dimension key: N rows of all processes, in TRL's order · B rows of this process · F reward functions · T tokens, padded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import Floats
from mrt_reward.training.scoring import BatchScorer
from mrt_reward.training.settings import TrainingSettings
from mrt_reward.types import Message

Inputs = Sequence[Mapping[str, Any]]
"""Rows of the dataset, one for each completion."""

TokenLists = Sequence[list[int]]

TRL_EPSILON = 1e-4
"""What TRL adds to a standard deviation."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows of this process stand among those of all; a group may stand on several processes.

    Attributes:
        accelerator: of the trainer.
        inputs: rows of the dataset, B of them.
        num_generations: rows of a group, which are neighbours among the N.

    """

    accelerator: Accelerator
    inputs: Inputs
    num_generations: int

    @property
    def mine(self) -> slice:
        """Of the N rows, those of this process."""
        first = self.accelerator.process_index * len(self.inputs)
        return slice(first, first + len(self.inputs))

    @property
    def groups(self) -> list[int]:
        """Group of each of the N rows."""
        return [row // self.num_generations for row in range(self.accelerator.num_processes * len(self.inputs))]

    def gathered(self, mine: Sequence[Item]) -> list[Item]:
        """One for each of the N rows, from B of each process; all processes must ask."""
        return cast("list[Item]", gather_object(list(mine)))


@dataclass(frozen=True, slots=True)
class TrainerContext:
    """What all batches of a trainer share.

    Attributes:
        settings: of the user.
        scorer: of the completions.
        answer_column: of the dataset, with the gold answers.
        max_tokens: longest completion that the trainer allows, if there is such a bound.
        credit: how progress becomes credit.
        note: takes metrics for the trainer's log.

    """

    settings: TrainingSettings
    scorer: BatchScorer
    answer_column: str
    max_tokens: int | None
    credit: CreditConfig
    note: Callable[[Mapping[str, float]], None]


class GenerationBatch(Protocol):
    """What TRL generates and trains on at once, from its completions to the advantages of its tokens."""

    def generated(self, prompts: Sequence[Any], prompt_ids: TokenLists, completion_ids: TokenLists) -> None:
        """The completions are there."""
        ...

    def rewarded(self, outcome_N: Floats) -> Sequence[bool]:
        """The rewards are there; for each of the N rows, whether TRL must leave it out."""
        ...

    def advantages(self, theirs_B: torch.Tensor, num_tokens: int) -> torch.Tensor:
        """Shape (B, T), from TRL's own of shape (B,)."""
        ...


def outcomes(rewards_NF: torch.Tensor, weights_F: torch.Tensor) -> Floats:
    """Reward of each row as TRL sums it up: weighted, over the functions that gave one; NaN where none did."""
    reward_N = (rewards_NF * weights_F.to(rewards_NF.device)).nansum(dim=1)
    reward_N[rewards_NF.isnan().all(dim=1)] = torch.nan
    return reward_N.detach().cpu().numpy().astype(np.float64)


def padded(advantage_BT: Sequence[Floats], num_tokens: int, like: torch.Tensor) -> torch.Tensor:
    """Rows as a tensor of shape (B, T), zero behind their ends."""
    filled = np.zeros((len(advantage_BT), num_tokens), np.float32)
    for row, advantage_T in zip(filled, advantage_BT, strict=True):
        row[: len(advantage_T)] = advantage_T
    return torch.from_numpy(filled).to(like)


def messages_of(prompt: Any) -> list[Message]:  # noqa: ANN401 - a dataset's column
    """A chat of text alone; anything else is none."""
    turns = _turns(prompt)
    if not all(isinstance(turn.get("content"), str) for turn in turns):
        return []
    return [Message(str(turn.get("role", "user")), str(turn["content"])) for turn in turns]


def shows_images(row: Mapping[str, Any], prompt: Any) -> bool:  # noqa: ANN401 - a dataset's column
    """Whether a prompt holds more than text, which a prover does not see."""
    if row.get("image") is not None or row.get("images"):
        return True
    parts = [part for turn in _turns(prompt) if isinstance(turn.get("content"), list) for part in turn["content"]]
    return any(part.get("type") != "text" for part in parts)


def _turns(prompt: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a dataset's column
    return [] if isinstance(prompt, str) else cast("Sequence[Mapping[str, Any]]", prompt)
