"""One trace that an engine must answer alike whenever it is asked: what self-checks prove.

A prefix cache, a copied weight, a mask or a state can go wrong without any error. Then log-probabilities are off by
whole nats, where rounding moves them by hundredths, so that one comparison tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from mrt_reward.protocols.proving import LikelihoodQuery, Probe, ProbeAnswer, Proof, SpellingIds
from mrt_reward.protocols.tokens import Tokenizer

PROMPT = "Let me think about this step by step. First, I look at what is given, and then at what is asked for. "
SUFFIX = "So the answer is "
ANSWER = "{42 and then 17"
CUTS = (0.07, 0.3, 0.55, 1.0)
"""Where the trace is cut, as shares of its tokens."""

MAX_OVERHEAD = 1.5
"""Tokens computed per token needed, above which an engine shares too little of a trace between its prefixes."""

_REMEDIES = {
    "vllm": "if the model has window or recurrent layers, keep more of their blocks with --engine-arg "
    "prefix_cache_retention_interval=N, a multiple of the block size (it takes cache); else set a smaller --engine-arg "
    "block_size",
}

_TOLERANCES = {"float32": 1e-3, "float16": 0.1}
_ROUGH_TOLERANCE = 0.25
"""Of bfloat16, and where the precision is not known; bfloat16 stays below a fifth of it."""


def canary_proof(tokenizer: Tokenizer, num_tokens: int, max_tokens: int) -> Proof:
    """A proof of the likelihood of one answer of several tokens, after a trace that is cut at `CUTS`.

    Args:
        tokenizer: of the model.
        num_tokens: of the trace, where the context holds them.
        max_tokens: of the context.

    """
    once, suffix, answer = (tokenizer.encode_untrusted(text).ids for text in (PROMPT, SUFFIX, ANSWER))
    length = max(1, min(num_tokens, max_tokens - len(suffix) - len(answer) - 1))
    cuts = sorted({max(1, round(share * length)) for share in CUTS})
    probes = tuple(Probe(cut, tuple(suffix.tolist()), seed=index) for index, cut in enumerate(cuts))
    ids = tuple(answer.tolist())
    return Proof(np.resize(once, length), probes, LikelihoodQuery((SpellingIds(ids, tokenizer.close_ids or ids[:1]),)))


def tolerance(dtype: str) -> float:
    """How far two log-probabilities of one token may lie apart by rounding, in nats."""
    return _TOLERANCES.get(dtype, _ROUGH_TOLERANCE)


def rounding(proof: Proof, dtype: str) -> float:
    """How far two answers to one likelihood proof may lie apart by rounding, in nats.

    A spelling of n tokens sums n errors that know nothing of each other, so that it grows with the root of n.
    """
    num_tokens = 1 + max(len(spelling.ids) for spelling in cast("LikelihoodQuery", proof.query).spellings)
    return tolerance(dtype) * num_tokens**0.5


def sharing_remedy(engine: str, computed_per_needed: float | None) -> str:
    """What to do where an engine's prefixes share too little; empty where they do not, or nobody knows."""
    if computed_per_needed is None or computed_per_needed <= MAX_OVERHEAD:
        return ""
    return _REMEDIES.get(engine, "serve this model with another engine")


def worst_difference(found: Sequence[ProbeAnswer], expected: Sequence[ProbeAnswer]) -> float:
    """The largest difference between two answers to one likelihood query, in nats; infinite where one is no number."""
    found_PS, expected_PS = (np.array([answer.spelling_logprobs for answer in side]) for side in (found, expected))
    with np.errstate(invalid="ignore"):
        apart_PS = np.where(found_PS == expected_PS, 0.0, np.abs(found_PS - expected_PS))
    return float(np.where(np.isnan(apart_PS), np.inf, apart_PS).max())


def needed_tokens(proof: Proof) -> int:
    """Tokens that a likelihood proof runs through the network where everything in common is run once."""
    spellings = cast("LikelihoodQuery", proof.query).spellings
    beginnings = {spelling.ids[:end] for spelling in spellings for end in range(1, len(spelling.ids) + 1)}
    suffixes = sum(len(probe.suffix) for probe in proof.probes)
    return max(probe.cut for probe in proof.probes) + suffixes + len(beginnings) * len(proof.probes)
