"""Proofs that a model cannot take, told before its network sees any of them."""

from __future__ import annotations

import numpy as np

from mrt_reward.errors import ProverError
from mrt_reward.protocols import LikelihoodQuery, Proof


def refuse_misfits(proof: Proof, max_tokens: int, vocab_size: int, *, runs_close: bool = False) -> None:
    """Check that a proof fits.

    Args:
        proof: what is asked.
        max_tokens: the model's context.
        vocab_size: its ids are below it.
        runs_close: the engine samples the token that closes a spelling as well, so that it needs a place of its own.

    Raises:
        ProverError: the longest terminated prefix and its answer do not fit the context, or an id is not the model's.

    """
    tail = 1
    if isinstance(proof.query, LikelihoodQuery):
        tail = max(len(spelling.ids) for spelling in proof.query.spellings) + runs_close
    longest = max(probe.cut + len(probe.suffix) for probe in proof.probes) + tail
    if longest > max_tokens:
        raise ProverError(
            f"the longest terminated prefix has {longest} tokens with its answer, the prover's context holds "
            f"{max_tokens}: shorten the trace, raise max_model_len, or serve a model with a longer context",
            code="context_length_exceeded",
        )
    ids = np.concatenate([proof.token_ids, *[np.array(probe.suffix) for probe in proof.probes]])
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ProverError(
            f"token ids must be in [0, {vocab_size}), got {ids.min()} to {ids.max()}", code="invalid_token_ids"
        )
