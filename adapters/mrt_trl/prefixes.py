"""Mode `prefix` (MRT-RL as published): rows that start from a prefix, normalised together whatever their prompt.

Dimension key: N rows of all processes · B rows of this process · T tokens, padded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mrt_reward.core.progress import Floats
from mrt_reward.training.prefix import prefix_advantages, prefix_metrics, read_prefixed, trained_part
from mrt_reward.training.records import Prefixed, Record
from mrt_reward.training.responses import Response
from mrt_trl.rows import Rows, TokenLists, TrainerContext, padded


class PrefixBatch:
    """Pays rows of a dataset of prefixes: columns `mrt_group`, and optionally `mrt_value_prefix` and `mrt_stop`.

    Args:
        setup: of the trainer.
        rows: of this process.

    """

    def __init__(self, setup: TrainerContext, rows: Rows) -> None:
        self._setup = setup
        self._rows = rows
        self._known_B: list[tuple[Prefixed, int]] = []
        self._paid_BT: list[Floats] = []

    def generated(self, prompts: Sequence[Any], prompt_ids: TokenLists, completion_ids: TokenLists) -> None:
        """See which tokens of each row are trained; no server is asked."""
        pairs = zip(self._rows.inputs, prompt_ids, completion_ids, strict=True)
        self._known_B = [(self._prefixed(row, Response(asked, ids)), len(ids)) for row, asked, ids in pairs]

    def rewarded(self, outcome_N: Floats) -> Sequence[bool]:
        """Work out what rows are paid, over all processes; TRL's own advantages are not used, so it leaves none out."""
        known = self._rows.gathered(self._known_B)
        records = [
            Record(row).rewarded(outcome, n) for (row, n), outcome in zip(known, outcome_N.tolist(), strict=True)
        ]
        termination = self._setup.settings.baseline == "termination"
        paid = prefix_advantages(records, self._setup.credit, termination=termination)
        self._paid_BT = paid[self._rows.mine]
        self._setup.note(prefix_metrics(records))
        return [False] * len(records)

    def advantages(self, theirs_B: torch.Tensor, num_tokens: int) -> torch.Tensor:
        """Of its prefix's group; TRL's own groups are of one prompt."""
        return padded(self._paid_BT, num_tokens, theirs_B)

    def _prefixed(self, row: Mapping[str, Any], response: Response) -> Prefixed:
        read = read_prefixed(row, "a row of train_dataset")
        return trained_part(read, response, self._setup.scorer.tokens, self._setup.settings.delimiters)
