"""Proofs of random tokens, and what a plain forward per prefix says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mrt_reward.protocols import LikelihoodQuery, Probe, Proof, Proven, RolloutQuery, SpellingIds

SPELLINGS = (SpellingIds((7, 8, 9), (10, 11)), SpellingIds((7, 8), (10,)), SpellingIds((12,), (13, 14, 15)))
LIKELIHOOD = LikelihoodQuery(SPELLINGS)
END_ID = 347


def make_proof(
    cuts: Sequence[int], query: LikelihoodQuery | RolloutQuery = LIKELIHOOD, *, seed: int = 0, num_suffix: int = 4
) -> Proof:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 400, size=max(cuts), dtype=np.int32)
    probes = tuple(
        Probe(cut, tuple(rng.integers(0, 400, size=num_suffix + index % 2).tolist()), seed=seed * 1000 + index)
        for index, cut in enumerate(cuts)
    )
    return Proof(ids, probes, query)


def rollouts(num_samples: int = 4, temperature: float = 0.0, top_p: float = 1.0, **changes: Any) -> RolloutQuery:
    settings: dict[str, Any] = {"max_tokens": 12, "stop_at_close": False, **changes}
    return RolloutQuery(num_samples, temperature, top_p, **settings)


@torch.inference_mode()
def plain_logprobs(reference: Any, ids: Sequence[int]) -> torch.Tensor:
    return reference(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)


def expected_likelihoods(
    reference: Any, proof: Proof, spellings: Sequence[SpellingIds] = SPELLINGS
) -> list[list[float]]:
    rows: list[list[float]] = []
    for probe in proof.probes:
        prefix = [*proof.token_ids[: probe.cut].tolist(), *probe.suffix]
        row: list[float] = []
        for spelling in spellings:
            logprobs = plain_logprobs(reference, [*prefix, *spelling.ids])
            total = sum(float(logprobs[len(prefix) - 1 + i, token]) for i, token in enumerate(spelling.ids))
            row.append(total + float(logprobs[-1, list(spelling.close)].logsumexp(0)))
        rows.append(row)
    return rows


def likelihoods(proven: Proven) -> list[list[float]]:
    return [list(answer.spelling_logprobs) for answer in proven.answers]


def greedy(reference: Any, proof: Proof, probe: Probe, max_tokens: int = 12) -> tuple[int, ...]:
    ids = torch.tensor([[*proof.token_ids[: probe.cut].tolist(), *probe.suffix]])
    output = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_tokens, do_sample=False, pad_token_id=0
    )
    answer = output[0, ids.shape[1] :].tolist()
    return tuple(answer[: answer.index(END_ID)] if END_ID in answer else answer)
