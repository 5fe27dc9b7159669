"""The custom loop on printed maps: the same steps, credit and log, with a sampler that is made for it.

Dimension key: B rows of a batch, group after group · P prompts · G rows of a prompt · T tokens of a padded response.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from adapters.custom_loop.train import Loop, LoopSettings, PolicyRollouts
from mrt_reward.mini import template
from mrt_reward.mini.charts import Regime, sample_charted
from mrt_reward.mini.island import Problem
from mrt_reward.training.metrics import record_metrics
from mrt_reward.training.records import Record
from mrt_reward.training.responses import Response
from tests.study.arms import Arm
from tests.study.network import Network
from tests.study.sampler import Sampling, padded, sample
from tests.study.values import ValueSpec, prover_here, revealed_record


@dataclass(frozen=True)
class Written(PolicyRollouts):
    """Rollouts, with what the sampler knows of them.

    Attributes:
        prompts: ids of each problem's prompt.
        written: ids of each row's completion.

    """

    prompts: list[list[int]]
    written: list[list[int]]


class StudyLoop(Loop):
    """A policy in training on the problems of a regime.

    Args:
        settings: of the custom loop.
        arm: how it is paid.
        regime: which problems, and the budget.
        values: where the values of prefixes come from.

    """

    def __init__(self, settings: LoopSettings, arm: Arm, regime: Regime, values: ValueSpec) -> None:
        super().__init__(settings)
        self.arm, self.regime, self.values = arm, regime, values
        self.network = Network(self.policy)
        self.end, self.pad = (
            cast("int", self.tokenizer.convert_tokens_to_ids(token)) for token in (template.TURN_CLOSE, template.PAD)
        )
        if values.source != "revealed":
            self.scorer, self.service = prover_here(settings.mrt, self.scorer.tokens, values)

    def draw(self, rng: np.random.Generator) -> Sequence[Problem]:
        """Problems of a step; the seed alone decides, so that all arms see the same."""
        return [sample_charted(rng, self.regime.candidate_counts) for _ in range(self.settings.problems)]

    def prompt_of(self, problem: Problem) -> list[int]:
        """Ids of a problem's prompt."""
        text = template.prompt_text(problem.text)
        return cast("list[int]", self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def think(self, problems: Sequence[Problem]) -> Written:
        """Sample a group of responses to each problem."""
        prompts = [self.prompt_of(problem) for problem in problems]
        how = Sampling(
            self.settings.group_size,
            self.settings.max_tokens,
            self.settings.temperature,
            self.end,
            self.pad,
            int(torch.randint(2**62, ()).item()),
        )
        written = sample(self.network, prompts, how)
        id_PW, seen_PW = padded(prompts, self.pad)
        rows = [torch.tensor(row) for row in written]
        size = self.settings.group_size
        ids = torch.cat([id_PW.repeat_interleave(size, 0), pad_sequence(rows, True, self.pad)], 1)
        wrote = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], True, 0)
        mask = torch.cat([seen_PW.long().repeat_interleave(size, 0), wrote], 1)
        each = [problem for problem in problems for _ in range(size)]
        return Written(each, ids.to(self.device), mask.to(self.device), id_PW.shape[1], prompts, written)

    def success(self, response: Response) -> float:
        """Reward r, and nothing else."""
        return super().outcome(response)

    def outcome(self, response: Response) -> float:
        """Reward r, less the arm's price of length."""
        used = len(response.response_ids) / self.settings.max_tokens
        return self.success(response) - self.arm.length_penalty * used

    async def score(self, rollouts: PolicyRollouts) -> tuple[list[Record], dict[str, float]]:
        """Outcome of each row beside the values of its prefixes."""
        if self.values.source != "revealed":
            if self.values.following:
                await self.follow()
            records, how = await super().score(rollouts)
        else:
            found = [
                revealed_record(row, problem, self.scorer.tokens, self.settings.mrt)
                for row, problem in zip(cast("Written", rollouts).written, rollouts.problems, strict=True)
            ]
            responses = [rollouts.response(row) for row in range(len(rollouts.problems))]
            records = [
                record.rewarded(self.outcome(response), len(response.response_ids))
                for response, record in zip(responses, found, strict=True)
            ]
            how = record_metrics(found)
        records = [self.with_scalar(record) for record in records] if self.arm.scalar else records
        return self.dealt_out(records) if self.arm.shuffled else records, how

    async def follow(self) -> None:
        """Let the prover have the policy's weights."""
        with tempfile.TemporaryDirectory() as folder:
            self.export(Path(folder))
            await self.service.load_weights(Path(folder), "checkpoint")

    def with_scalar(self, record: Record) -> Record:
        """Progress as one number on the outcome; its episodes are then paid nothing."""
        scored = record.scored
        if scored is None:
            return record
        gained = self.settings.mrt.alpha * float(scored.value_P[-1] - scored.value_P[0])
        return replace(record, outcome=record.outcome + gained, what=None)

    def dealt_out(self, records: list[Record]) -> list[Record]:
        """The same outcomes, each given to a trace of its group by lot."""
        rng, size = np.random.default_rng([self.settings.seed, len(self.log), 1]), self.settings.group_size
        row_N = np.concatenate([start + rng.permutation(size) for start in range(0, len(records), size)])
        outcomes = [records[row].outcome for row in row_N]
        return [replace(record, outcome=outcome) for record, outcome in zip(records, outcomes, strict=True)]

    def logprobs(self, rollouts: PolicyRollouts, rows: Tensor) -> Tensor:
        """Log-probability of each response token, (rows, T); `rows` are whole groups, whose prompt is read once."""
        size, mask_BT = self.settings.group_size, rollouts.mask[rows, rollouts.num_prompt :].bool()
        id_PGT = rollouts.ids[rows, rollouts.num_prompt :].unflatten(0, (-1, size))
        width = int(mask_BT.sum(1).max())
        prompts = cast("Written", rollouts).prompts[int(rows[0]) // size : int(rows[-1]) // size + 1]
        read = self.network.read(*(each.to(self.device) for each in padded(prompts, self.pad)))
        first = read.last_PD[:, None, None].expand(-1, size, -1, -1)
        output = torch.cat([first, self.network.write(id_PGT[..., : width - 1], read)], 2).flatten(0, 1)
        seen = mask_BT[:, :width]
        logits = self.network.logits(output[seen]) / self.settings.temperature
        report = -functional.cross_entropy(
            logits, rollouts.ids[rows, rollouts.num_prompt :][:, :width][seen], reduction="none"
        )
        return torch.zeros(mask_BT.shape, device=self.device).masked_scatter(
            functional.pad(seen, (0, mask_BT.shape[1] - width)), report
        )

    def identity(self) -> dict[str, Any]:
        """The settings that make a run what it is."""
        mine = {"arm": self.arm.name, "regime": self.regime.name, "values": self.values.source}
        return super().identity() | mine | {"num_answers": self.values.num_answers, "following": self.values.following}

    async def close(self) -> None:
        """Let the prover go, if there is one."""
        await self.scorer.close()


async def steps(loop: StudyLoop, num_steps: int) -> None:
    """Go on to `num_steps` steps in all."""
    while len(loop.log) < num_steps:
        await loop.step()
        await asyncio.sleep(0)
