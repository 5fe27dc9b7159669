"""Mode `episodes`: TRL's own advantages, and on the tokens of each episode what its progress adds.

Dimension key: N rows of all processes · B rows of this process · T tokens, padded.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import torch
from anyio.from_thread import BlockingPortal

from mrt_reward.core.progress import Floats
from mrt_reward.training.advantages import check_failures, failed_lapse, progress_advantages
from mrt_reward.training.metrics import batch_metrics, record_metrics
from mrt_reward.training.records import Lapse, Record
from mrt_reward.training.responses import Response
from mrt_trl.checks import WHERE
from mrt_trl.rows import Rows, TokenLists, TrainerContext, messages_of, padded, shows_images

UNSEEN = Record(Lapse.UNSUPPORTED, "its prompt holds images, which the prover does not see")

logger = logging.getLogger(__name__)


class ProgressBatch:
    """Scores completions while TRL works out its log-probabilities and the user's rewards, or before by the policy.

    Args:
        setup: of the trainer.
        rows: of this process.
        portal: an event loop in a thread of its own.
        step: of the trainer.

    """

    def __init__(self, setup: TrainerContext, rows: Rows, portal: BlockingPortal, step: int) -> None:
        self._setup = setup
        self._rows = rows
        self._portal = portal
        self._step = step
        self._scoring: Future[list[Record]] | None = None
        self._waited_s = 0.0
        self._lengths: list[int] = []
        self._added_BT: list[Floats] = []

    def generated(self, prompts: Sequence[Any], prompt_ids: TokenLists, completion_ids: TokenLists) -> None:
        """Have all of them scored, and do not wait, unless the policy does so: it is in use then."""
        self._lengths = [len(ids) for ids in completion_ids]
        groups = self._rows.groups[self._rows.mine]
        responses: list[Response | None] = []
        for index, (row, prompt) in enumerate(zip(self._rows.inputs, prompts, strict=True)):
            response = Response(
                prompt_ids=prompt_ids[index],
                response_ids=completion_ids[index],
                messages=messages_of(prompt),
                answer=row.get(self._setup.answer_column),
                group=str(groups[index]),
                step=self._step,
            )
            responses.append(None if shows_images(row, prompt) else response)
        self._scoring = self._portal.start_task_soon(self._scored, responses)
        if self._setup.settings.by_policy:
            self._awaited(self._scoring)

    def rewarded(self, outcome_N: Floats) -> Sequence[bool]:
        """Wait for the scores of all processes, and work out what they add.

        Raises:
            ProverError: too many rows have none; on all processes alike.

        """
        if self._scoring is None:
            raise RuntimeError("expected TRL to generate before it works out rewards")
        setup, settings = self._setup, self._setup.settings
        records_B = self._awaited(self._scoring)
        _warn(records_B)
        known = self._rows.gathered(list(zip(records_B, self._lengths, strict=True)))
        records = [
            record.rewarded(outcome, num_tokens)
            for (record, num_tokens), outcome in zip(known, outcome_N.tolist(), strict=True)
        ]
        check_failures(records, settings.on_failure, settings.max_failed_share, WHERE)
        paid = progress_advantages(records, self._rows.groups, setup.credit, settings.on_failure)
        self._added_BT = paid.advantage_NT[self._rows.mine]
        longest = setup.max_tokens or max(record.num_tokens for record in records)
        setup.note(batch_metrics(records, settings, settings.regret_budget or longest))
        setup.note(record_metrics(records, max(self._rows.gathered([self._waited_s]))))
        setup.note({"mrt/groups/mixed_versions": float(paid.num_mixed)})
        return [settings.on_failure == "drop" and failed_lapse(record) is not None for record in records]

    def advantages(self, theirs_B: torch.Tensor, num_tokens: int) -> torch.Tensor:
        """TRL's own on every token, and what progress adds."""
        return theirs_B.unsqueeze(1) + padded(self._added_BT, num_tokens, theirs_B)

    def leave(self) -> None:
        """Stop what is still being scored."""
        if self._scoring is not None:
            self._scoring.cancel()

    def _awaited(self, scoring: Future[list[Record]]) -> list[Record]:
        started = time.perf_counter()
        try:
            return scoring.result()
        finally:
            self._waited_s += time.perf_counter() - started

    async def _scored(self, responses: Sequence[Response | None]) -> list[Record]:
        records = iter(await self._setup.scorer.score_all([each for each in responses if each is not None]))
        return [UNSEEN if response is None else next(records) for response in responses]


def _warn(records: Sequence[Record]) -> None:
    """Tell each reason once a batch, with how often."""
    reasons = [f"{r.what.name.lower()}: {r.reason}" for r in records if isinstance(r.what, Lapse) and r.what.failed]
    for reason in dict.fromkeys(reasons):
        logger.warning("mrt: no progress for %d of %d traces: %s", reasons.count(reason), len(records), reason)
