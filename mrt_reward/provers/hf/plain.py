"""A model asked in the plain way: one forward for each terminated prefix and answer, without any cache.

Dimension key: P probes · S spellings · M sampled answers · L tokens · T last tokens · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from mrt_reward.protocols import LikelihoodQuery, Probe, ProbeAnswer, Proof, SpellingIds
from mrt_reward.provers.hf.logits import finite


@dataclass(frozen=True, slots=True)
class PlainModel:
    """Says what a model's answers are; both raise `ProverError` where the model gives no finite numbers.

    Attributes:
        model: a decoder-only transformers model; while it is asked, its attention is its own eager code.

    """

    model: Any

    def likelihoods(self, proof: Proof) -> tuple[ProbeAnswer, ...]:
        """The answers to a proof of likelihoods."""
        spellings = cast("LikelihoodQuery", proof.query).spellings
        with self._eager():
            return tuple(
                ProbeAnswer(tuple(self._spelled(_before(proof, probe), spelling) for spelling in spellings))
                for probe in proof.probes
            )

    def mean_logprobs(self, proof: Proof, answers: Sequence[ProbeAnswer]) -> NDArray[np.float64]:
        """Mean log-probability of the tokens of sampled answers, shape (P, M); each has one at least."""
        with self._eager():
            return np.array(
                [
                    [self._mean(_before(proof, probe), ids) for ids in answer.completions]
                    for probe, answer in zip(proof.probes, answers, strict=True)
                ]
            )

    def _spelled(self, before: Sequence[int], spelling: SpellingIds) -> float:
        logprob_TV = self._last(before, spelling.ids)
        ids = logprob_TV[range(len(spelling.ids)), list(spelling.ids)]
        return float(ids.sum() + np.logaddexp.reduce(logprob_TV[-1, list(spelling.close)]))

    def _mean(self, before: Sequence[int], ids: Sequence[int]) -> float:
        return float(self._last(before, ids)[range(len(ids)), list(ids)].mean())

    def _last(self, before: Sequence[int], ids: Sequence[int]) -> NDArray[np.float64]:
        """Log-probabilities of the next token before each of the ids and after the last, shape (1 + len(ids), V)."""
        tokens = torch.tensor([[*before, *ids]], device=self.model.device)
        logits = cast("torch.Tensor", self.model(input_ids=tokens, use_cache=False).logits)
        return finite(logits[0, len(before) - 1 :]).double().log_softmax(dim=-1).cpu().numpy()

    @contextmanager
    def _eager(self) -> Generator[None]:
        attention = self.model.config._attn_implementation  # noqa: SLF001 - transformers has no other name for it
        self._switch("eager")
        try:
            with torch.inference_mode():
                yield
        finally:
            self._switch(attention)

    def _switch(self, attention: str) -> None:
        if is_switchable(self.model):
            self.model.set_attn_implementation(attention)


def is_switchable(model: Any) -> bool:  # noqa: ANN401 - transformers' own
    """Whether a model's attention can be another than the one that it was written with."""
    return bool(model._can_set_attn_implementation())  # noqa: SLF001 - set_attn_implementation warns instead


def _before(proof: Proof, probe: Probe) -> list[int]:
    return [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]
