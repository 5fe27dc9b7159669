"""What steers sampling inside the engine's own process: forced answers, and answers that end with their braces.

The engine imports this module by name and asks it about every row before it samples. Log-probabilities are taken
before, from the raw logits, so a forced token still tells how probable it really was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate

FORCED = "mrt_forced"
"""In `SamplingParams.extra_args`: the tokens to emit first, whatever their probability."""

END_AT_CLOSE = "mrt_end_at_close"
"""In `SamplingParams.extra_args`: the token to emit once the answer's braces balance."""

BRACES = "mrt_braces"
"""In the engine's `additional_config`: the braces in each token that has any, such as `{"17": "}{"}`."""


class ForcedTokens:
    """Emit these first."""

    def __init__(self, tokens: list[int], output_ids: list[int]) -> None:
        self._tokens = tokens
        self._output_ids = output_ids

    def next_token(self) -> int | None:
        """The only token allowed now; None allows all."""
        step = len(self._output_ids)
        return self._tokens[step] if step < len(self._tokens) else None


class EndAtClose:
    """Emit `end` once the braces balance."""

    def __init__(self, end: int, braces: Mapping[int, str], output_ids: list[int]) -> None:
        self._end = end
        self._braces = braces
        self._output_ids = output_ids
        self._num_read = 0
        self._depth = BraceDepth()

    def next_token(self) -> int | None:
        """The only token allowed now; None allows all."""
        while self._num_read < len(self._output_ids):
            token = self._output_ids[self._num_read]
            if token < 0:
                break  # sampled already, and not known here yet
            self._depth.read(self._braces.get(token, ""))
            self._num_read += 1
        return self._end if self._depth.closed else None


class BraceDepth:
    """Counts braces from the first that opens.

    Attributes:
        closed: they have balanced once.

    """

    def __init__(self) -> None:
        self._depth = 0
        self.closed = False

    def read(self, braces: str) -> None:
        """Go on with the braces of one token."""
        for brace in braces:
            if brace == "{":
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                self.closed = self.closed or self._depth == 0


class AnswerControl(LogitsProcessor):
    """The engine's processor: leaves one finite logit in the rows that are steered at this step."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        del is_pin_memory
        config = cast("dict[str, Any]", vllm_config.additional_config)
        self._braces = {int(token): str(text) for token, text in config[BRACES].items()}
        self._device = device
        self._steered: dict[int, ForcedTokens | EndAtClose] = {}

    def is_argmax_invariant(self) -> bool:
        """No: it changes which token is the most probable."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests as they come, go and change rows."""
        process_dict_updates(self._steered, batch_update, self._steering)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave only the token that is allowed."""
        allowed = {
            row: token for row, steering in self._steered.items() if (token := steering.next_token()) is not None
        }
        if allowed:
            rows = torch.tensor(list(allowed), device=self._device)
            logits[rows] = -torch.inf
            logits[rows, torch.tensor(list(allowed.values()), device=self._device)] = 0.0
        return logits

    def _steering(
        self, params: SamplingParams, prompt_ids: list[int] | None, output_ids: list[int]
    ) -> ForcedTokens | EndAtClose | None:
        del prompt_ids
        asked = params.extra_args or {}
        if FORCED in asked:
            return ForcedTokens(asked[FORCED], output_ids)
        if END_AT_CLOSE in asked:
            return EndAtClose(asked[END_AT_CLOSE], self._braces, output_ids)
        return None
