"""How many tokens some work needs: sequences that begin alike share their beginning, and each token is run once.

Dimension key: N sequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mrt_reward.protocols import LikelihoodQuery
from mrt_reward.service.jobs import Job
from mrt_reward.types import TokenIds


def unique_tokens(sequences: Iterable[TokenIds]) -> int:
    """Nodes of the sequences' prefix tree: tokens to run through a network that computes no beginning twice.

    One sequence needs its length, and a sequence that is there already adds nothing.
    """
    # In the order of their bytes, a sequence shares most with its neighbour.
    ordered = sorted(np.asarray(ids).astype(">i4").tobytes() for ids in sequences)
    total = 0
    previous = np.empty(0, np.int32)
    for text in ordered:
        ids = np.frombuffer(text, ">i4").astype(np.int32)
        total += len(ids) - shared_length(previous, ids)
        previous = ids
    return total


def shared_length(first: TokenIds, second: TokenIds) -> int:
    """How many tokens two sequences have in common at their beginning."""
    size = min(len(first), len(second))
    different = np.flatnonzero(first[:size] != second[:size])
    return int(different[0]) if len(different) else size


def terminated(job: Job) -> list[TokenIds]:
    """A trace's terminated prefixes, shortest first: what is asked about one by one, where nothing is shared."""
    return [
        np.concatenate([job.token_ids[:cut], np.array(suffix, np.int32)])
        for cut, suffix in zip(job.cuts, job.suffixes, strict=True)
    ]


def asked(job: Job) -> list[TokenIds]:
    """What must have been run to answer: terminated prefixes, each with every spelling where likelihoods are asked."""
    prompts = terminated(job)
    query = job.plan.query
    if not isinstance(query, LikelihoodQuery):
        return prompts
    spelt = [np.array(spelling.ids, np.int32) for spelling in query.spellings]
    return [np.concatenate([prompt, ids]) for prompt in prompts for ids in spelt]


def prefill_lengths(jobs: Sequence[Job], max_tokens: int) -> list[int]:
    """Lengths of plain prompts that hold as many tokens as the jobs need, about one for each trace.

    Args:
        jobs: what is asked.
        max_tokens: longest prompt, in tokens.

    Returns:
        Lengths in [1, max_tokens]; their sum is `unique_tokens` of all that is asked.

    """
    total = unique_tokens(ids for job in jobs for ids in asked(job))
    alone = [unique_tokens(asked(job)) for job in jobs]
    # What traces of one problem share is counted once, and taken off all alike.
    edges = np.rint(np.cumsum([0, *alone]) * (total / max(1, sum(alone)))).astype(int)
    lengths: list[int] = []
    for size in np.diff(edges).tolist():
        num_pieces = -(-size // max_tokens)
        lengths += [size // num_pieces + (piece < size % num_pieces) for piece in range(num_pieces)]
    return lengths
