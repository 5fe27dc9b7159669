"""What steers sampling inside the engine's own process: forced answers, our own draws, and answers that end in time.

The engine imports this module by name and asks it about every row before it samples. Log-probabilities are taken
before, from the raw logits, so a forced token still tells how probable it really was.

Answers are drawn here and not by vLLM, for two reasons. The draws are those of the transformers prover, a function of
the probe alone. And vLLM's seeded sampling ends the engine on a CPU when a prompt is computed in parts ("CPU Generator
does not use offset", 0.32).

Dimension key: R rows · V vocabulary · M answers of a probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from mrt_reward.protocols import RolloutQuery
from mrt_reward.provers.draws import draw, draw_coupled
from mrt_reward.provers.noise import Address
from mrt_reward.provers.stops import after_braces

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate

FORCED = "mrt_forced"
"""In `SamplingParams.extra_args`: the tokens to emit first, whatever their probability."""

END_AT_CLOSE = "mrt_end_at_close"
"""In `SamplingParams.extra_args`: the token to emit once the answer's braces balance."""

DRAWN = "mrt_drawn"
"""In `SamplingParams.extra_args`: `seed`, `sample` and the fields of the `query`, to draw every token by."""

BRACES = "mrt_braces"
"""In the engine's `additional_config`: the braces in each token that has any, such as `{"17": "}{"}`."""


class ForcedTokens:
    """Makes an answer begin with given tokens."""

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
        self._depth = 0
        self._closed = False

    def next_token(self) -> int | None:
        """The only token allowed now; None allows all."""
        while self._num_read < len(self._output_ids):
            token = self._output_ids[self._num_read]
            if token < 0:
                break  # sampled already, and not known here yet
            self._depth, closed = after_braces(self._depth, self._braces.get(token, ""))
            self._closed = self._closed or closed
            self._num_read += 1
        return self._end if self._closed else None


class AnswerNoise:
    """Noise of answer `sample` among the M of a probe: one draw a token, the same one wherever it is asked for.

    Args:
        seed: of the probe.
        sample: index of the answer.
        query: M, temperature above zero, nucleus, and whether answers are coupled.
        output_ids: of the answer so far.

    """

    def __init__(self, seed: int, sample: int, query: RolloutQuery, output_ids: list[int]) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._seed = seed
        self._sample = sample
        self._output_ids = output_ids
        self._uniforms: list[float] = []
        self.query = query

    @property
    def address(self) -> Address:
        """Where the noise of the next token is, if answers are coupled."""
        return Address(self._seed, self._sample, len(self._output_ids))

    def uniform(self) -> float:
        """The draw of the next token. A step whose token is thrown away asks for the same one again."""
        while len(self._uniforms) <= len(self._output_ids):
            self._uniforms.append(float(self._generator.random(self.query.num_samples)[self._sample]))
        return self._uniforms[len(self._output_ids)]


class AnswerControl(LogitsProcessor):
    """The engine's processor: leaves one finite logit in the rows that are steered at this step."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        del is_pin_memory
        config = cast("dict[str, Any]", vllm_config.additional_config)
        self._braces = {int(token): str(text) for token, text in config[BRACES].items()}
        self._device = device
        self._forced: dict[int, ForcedTokens] = {}
        self._ending: dict[int, EndAtClose] = {}
        self._noise: dict[int, AnswerNoise] = {}

    def is_argmax_invariant(self) -> bool:
        """No: it changes which token is the most probable."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the requests as they come, go and change rows."""
        process_dict_updates(self._forced, batch_update, self._new_forced)
        process_dict_updates(self._ending, batch_update, self._new_ending)
        process_dict_updates(self._noise, batch_update, self._new_noise)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave only the token that is drawn, or that must be."""
        chosen = self._draws(logits)
        for steered in (self._ending, self._forced):
            chosen.update({row: token for row, one in steered.items() if (token := one.next_token()) is not None})
        if chosen:
            rows = torch.tensor(list(chosen), device=self._device)
            logits[rows] = -torch.inf
            logits[rows, torch.tensor(list(chosen.values()), device=self._device)] = 0.0
        return logits

    def _draws(self, logits: torch.Tensor) -> dict[int, int]:
        """Drawn tokens by row; rows that are drawn alike are drawn together."""
        alike: dict[RolloutQuery, list[int]] = {}
        for row, noise in self._noise.items():
            alike.setdefault(noise.query, []).append(row)
        chosen: dict[int, int] = {}
        for query, rows in alike.items():
            logits_RV = logits[torch.tensor(rows, device=self._device)]
            if query.coupled:
                addresses = [self._noise[row].address for row in rows]
                tokens = draw_coupled(logits_RV, range(len(rows)), addresses, query).tolist()
            else:
                uniform_R1 = np.array([[self._noise[row].uniform()] for row in rows])
                tokens = draw(logits_RV, uniform_R1, query)[:, 0].tolist()
            chosen.update(zip(rows, tokens, strict=True))
        return chosen

    def _new_forced(self, params: SamplingParams, _: list[int] | None, output_ids: list[int]) -> ForcedTokens | None:
        tokens = (params.extra_args or {}).get(FORCED)
        return None if tokens is None else ForcedTokens(tokens, output_ids)

    def _new_ending(self, params: SamplingParams, _: list[int] | None, output_ids: list[int]) -> EndAtClose | None:
        end = (params.extra_args or {}).get(END_AT_CLOSE)
        return None if end is None else EndAtClose(end, self._braces, output_ids)

    def _new_noise(self, params: SamplingParams, _: list[int] | None, output_ids: list[int]) -> AnswerNoise | None:
        fields = (params.extra_args or {}).get(DRAWN)
        if fields is None:
            return None
        return AnswerNoise(fields["seed"], fields["sample"], RolloutQuery(**fields["query"]), output_ids)
