"""Answers of several proofs in one decode: every step runs one token of each live row of all of them.

What a proof is answered does not depend on what is decoded beside it: each row reads its own proof's columns, its draws
are its own, and the network treats rows alike however many there are, from `MIN_ROWS` on.

Dimension key: P probes of a packed row · R live rows · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import Probe, ProbeAnswer, Proof, RolloutQuery
from mrt_reward.provers.hf.branches import Branches
from mrt_reward.provers.hf.kv_cache import PackedCache, PrefixCache, StepCache
from mrt_reward.provers.hf.packing import PackedRow, pack
from mrt_reward.provers.hf.sampling import Answers, draw_together
from mrt_reward.provers.likelihood import NO_SPELLINGS
from mrt_reward.provers.stops import Stops

MAX_ANSWERS = 256
"""Answers that are sampled side by side, unless one probe alone asks for more."""

MIN_ROWS = 16
"""Rows of the smallest step. A CPU's kernels sum products of fewer rows in another order: of fewer than 16 on a Xeon
with AVX-512 (Cascade Lake), of fewer than 4 on one with AMX."""


def num_together(query: RolloutQuery) -> int:
    """Probes of one proof whose answers grow at once."""
    return max(1, MAX_ANSWERS // query.num_samples)


class Passes(Protocol):
    """What sampling needs of a network."""

    @property
    def stops(self) -> Stops:
        """What ends an answer."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest context, in tokens."""
        ...

    @property
    def vocab_size(self) -> int:
        """Its ids are below it."""
        ...

    def prefill(self, ids: NDArray[np.int32], pause: Callable[[], None]) -> PrefixCache:
        """Keys and values of a trace."""
        ...

    def packed(self, row: PackedRow, cache: PackedCache) -> Tensor:
        """Logits after a packed row's suffixes, (P, V)."""
        ...

    def step(self, ids_R: NDArray[np.int64], position_R: NDArray[np.int64], cache: StepCache) -> Tensor:
        """Logits after one token of each row, (R, V)."""
        ...


@dataclass(frozen=True, slots=True)
class Growing:
    """One packed row, whose answers grow.

    Attributes:
        answers: those that have ended so far.
        branches: what their rows read.
        end_P: position of each suffix's last token.
        logits_RV: for the next draws.
        num_steps: taken so far.

    """

    answers: Answers
    branches: Branches
    end_P: NDArray[np.int64]
    logits_RV: Tensor
    num_steps: int = 0


class Sampling:
    """One proof's sampled answers, from its trace on: some of its probes at a time.

    Args:
        network: the model that answers.
        proof: whose ids are the model's, and which fits.
        query: how the proof asks for answers.
        pause: called between passes over the trace; may raise to end the work.

    Attributes:
        answers: of the probes that are through.
        num_tokens: run through the network so far.

    """

    def __init__(self, network: Passes, proof: Proof, query: RolloutQuery, pause: Callable[[], None]) -> None:
        self._network = network
        self._proof = proof
        self._query = query
        ids = proof.token_ids[: max(probe.cut for probe in proof.probes)]
        self._prefix = network.prefill(ids, pause)
        self._todo = self._packed_rows()
        self._num_todo = len(proof.probes)
        self._growing: Growing | None = None
        self.answers: list[ProbeAnswer] = []
        self.num_tokens = len(ids)
        self._begin_next()

    @property
    def growing(self) -> Growing | None:
        """What is decoded now; None once all is answered."""
        return self._growing

    @property
    def num_answers(self) -> int:
        """Answers that grow at once from here on, at most."""
        now = 0 if self._growing is None else self._growing.answers.num_unfinished
        return max(now, min(self._num_todo, num_together(self._query)) * self._query.num_samples)

    @property
    def num_columns(self) -> int:
        """Columns of keys and values that there is room for after one more step, at most."""
        growing = self._growing
        own = 0 if growing is None else growing.branches.num_tokens(growing.answers.num_unfinished)
        return self._prefix.get_seq_length() + own

    def go_on(self, growing: Growing, parents: Sequence[int]) -> bool:
        """Take the rows that were drawn; returns whether any of them runs in the next step."""
        if parents:
            growing.branches.follow(parents, growing.answers.probes())
            return True
        self.answers += [
            ProbeAnswer(
                completions=growing.answers.completions(index), completion_logprobs=growing.answers.mean_logprobs(index)
            )
            for index in range(len(growing.end_P))
        ]
        self._begin_next()
        return False

    def take(self, growing: Growing, logits_RV: Tensor) -> None:
        """Take the logits of a step."""
        self._growing = replace(growing, logits_RV=logits_RV, num_steps=growing.num_steps + 1)
        self.num_tokens += len(logits_RV)

    def _packed_rows(self) -> Iterator[tuple[Sequence[Probe], PackedRow]]:
        probes = self._proof.probes
        size = num_together(self._query)
        for start in range(0, len(probes), size):
            chunk = probes[start : start + size]
            for row in pack(chunk, NO_SPELLINGS, self._network.vocab_size):
                yield chunk[row.probes.start : row.probes.stop], row

    def _begin_next(self) -> None:
        """Run the next suffixes, if any are left."""
        self._growing = None
        for probes, row in self._todo:
            packed = PackedCache(self._prefix, row.num_shared, keep=True)
            logits_RV = self._network.packed(row, packed)
            room = [self._network.max_tokens - probe.cut - len(probe.suffix) for probe in probes]
            answers = Answers(probes, self._query, self._network.stops, room)
            branches = Branches(self._prefix, row, packed, self._query.num_samples)
            self._growing = Growing(answers, branches, row.positions[row.logit_rows], logits_RV)
            self.num_tokens += len(row.ids)
            self._num_todo -= len(probes)
            return


def step(network: Passes, samplings: Sequence[Sampling]) -> None:
    """One token for every unfinished answer of all; afterwards some have begun other probes, and some are through.

    Raises:
        ProverError: the network gave no finite numbers, to any of them.

    """
    drawn = zip(samplings, _drawn(samplings), strict=True)
    running = [(each, part) for each, (part, parents) in drawn if each.go_on(part, parents)]
    if not running:
        return
    parts = [part for _, part in running]
    counts = [len(part.answers.rows) for part in parts]
    ends = np.cumsum(counts).tolist()
    slices = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    num_rows = max(ends[-1], MIN_ROWS)
    ids_R, position_R = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.int64)
    for part, rows in zip(parts, slices, strict=True):
        ids_R[rows] = [row.token for row in part.answers.rows]
        position_R[rows] = part.end_P[part.answers.probes()] + part.num_steps + 1
    cache = StepCache([(part.branches, rows) for part, rows in zip(parts, slices, strict=True)])
    logits_RV = network.step(ids_R, position_R, cache)
    for (each, part), rows in zip(running, slices, strict=True):
        each.take(part, logits_RV[rows])


def _drawn(samplings: Sequence[Sampling]) -> list[tuple[Growing, list[int]]]:
    """What each grows, and the rows that its next rows continue; those that are sampled alike are drawn together."""
    parts = [each.growing for each in samplings if each.growing is not None]
    parents: dict[int, list[int]] = {}
    for _, alike in groupby(sorted(parts, key=_way), key=_way):
        members = list(alike)
        logits_RV = torch.cat([part.logits_RV for part in members])
        token_RM = draw_together([part.answers for part in members], logits_RV)
        start = 0
        for part in members:
            rows = slice(start, start + len(part.logits_RV))
            parents[id(part)] = part.answers.grow(part.logits_RV, token_RM[rows])
            start = rows.stop
    return [(part, parents[id(part)]) for part in parts]


def _way(part: Growing) -> tuple[float, float, int, bool]:
    """How its tokens are drawn."""
    query = part.answers.query
    return query.temperature, query.top_p, query.num_samples, query.coupled
