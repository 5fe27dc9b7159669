"""MRT-RL as published: the loop of train.py, from prefixes of old traces instead of from bare problems.

    mrt-reward prefixes scored.jsonl -o rows.jsonl --tokenizer POLICY        two rows a prefix: stop there, or go on
    python adapters/custom_loop/prefixes.py --rows rows.jsonl --out run      no server is asked

Rows of one `mrt_group` are normalised together, whatever their prompt; `--mrt.baseline termination` compares each with
the value of its prefix instead. A row that must stop is trained on its answer alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, FilePath
from pydantic_settings import SettingsConfigDict
from torch import Tensor
from train import Loop, LoopSettings, PolicyRollouts, main

from mrt_reward.errors import ConfigError, TraceError
from mrt_reward.golds import golds_of
from mrt_reward.training.prefix import needed_value, prefix_advantages, prefix_metrics, read_prefixed, trained_part
from mrt_reward.training.records import Prefixed, Record
from mrt_reward.training.responses import Response
from mrt_reward.training.settings import TrainingSettings


class PrefixTrainingSettings(LoopSettings):
    """MRT-RL from the rows of `mrt-reward prefixes`, in plain PyTorch. No server is asked."""

    # Flags of mrt change what they name; its mode stays.
    model_config = SettingsConfigDict(nested_model_default_partial_update=True)

    rows: Annotated[FilePath, Field(description="JSONL that `mrt-reward prefixes` wrote.")]
    problems: Annotated[int, Field(ge=1, description="Groups of rows of a step, drawn without repeats.")] = 8
    group_size: Annotated[int, Field(ge=1, description="Traces of each row.")] = 8
    mrt: TrainingSettings = TrainingSettings(mode="prefix")


@dataclass(frozen=True)
class StartRow:
    """What the policy starts from: text up to the end of the prefix, the gold answer, and what is done with it."""

    text: str
    answer: str
    prefixed: Prefixed


def read_row(line: str, where: str) -> StartRow:
    """A row as `mrt-reward prefixes` writes it; raises TraceError where it cannot be trained on."""
    try:
        columns: Any = json.loads(line.encode())
        text, answers = columns["prompt"], golds_of(columns["answer"], param=f"{where}, answer")
    except (ValueError, TypeError, KeyError) as error:
        raise TraceError(f"{where}: expected an object with prompt, answer and mrt_group, got {line:.80}") from error
    if not isinstance(text, str) or not answers:
        raise TraceError(f"{where}: expected a prompt as text, and its gold answer, got {text!r:.80} and {answers}")
    return StartRow(text, answers[0], read_prefixed(columns, where))


def read_groups(settings: PrefixTrainingSettings) -> list[list[StartRow]]:
    """Rows of the file by their groups; raises MRTRewardError where they cannot be trained on."""
    groups: dict[int, list[StartRow]] = {}
    with settings.rows.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = read_row(line, f"{settings.rows}, line {number}")
            if settings.mrt.baseline == "termination":
                needed_value(row.prefixed)
            groups.setdefault(row.prefixed.group, []).append(row)
    if len(groups) < settings.problems:
        raise ConfigError(f"{settings.rows} has {len(groups)} groups: set --problems to no more than that")
    return list(groups.values())


class PrefixLoop(Loop):
    """What differs from train.py: where a step's rows come from, and what they are paid."""

    mode = "prefix"
    template = "{{ messages[0]['content'] }}"  # a row's text as it is

    def __init__(self, settings: PrefixTrainingSettings) -> None:
        self.groups = read_groups(settings)
        super().__init__(settings)

    def draw(self, rng: np.random.Generator) -> Sequence[StartRow]:
        """All rows of some groups."""
        chosen: list[int] = rng.choice(len(self.groups), self.settings.problems, replace=False).tolist()
        return [row for group in chosen for row in self.groups[group]]

    async def advantages(self, rollouts: PolicyRollouts) -> tuple[Tensor, dict[str, float]]:
        """A_outcome within the group, or r - J(prefix), on each token that is trained, (B, T)."""
        mrt = self.settings.mrt
        records = [self.record(row, rollouts.response(index)) for index, row in enumerate(rollouts.problems)]
        paid = prefix_advantages(records, mrt.credit_config(), termination=mrt.baseline == "termination")
        advantage_BT = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, paid)), batch_first=True)
        metrics = prefix_metrics(records)
        metrics["response_length/mean"] = float(np.mean([record.num_tokens for record in records]))
        return advantage_BT.float().to(self.device), metrics

    def record(self, row: StartRow, response: Response) -> Record:
        """A row's outcome, and which of its tokens are trained: none where it must stop and does not answer."""
        trained = trained_part(row.prefixed, response, self.scorer.tokens, self.settings.mrt.delimiters)
        return Record(trained).rewarded(self.outcome(response), len(response.response_ids))


if __name__ == "__main__":
    main(PrefixTrainingSettings, PrefixLoop)
