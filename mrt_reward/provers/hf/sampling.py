"""Sampled answers from one packed row: every distinct beginning of an answer is computed once.

The M answers of a probe start as one row, the suffix's end, and part where their draws differ. A live row is a distinct
(probe, tokens so far), so greedy answers need one row whatever M is.

Dimension key: P probes · M answers · R live rows · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import Probe, RolloutQuery
from mrt_reward.provers.draws import draw, draw_coupled
from mrt_reward.provers.noise import Address
from mrt_reward.provers.stops import Stops, after_braces


@dataclass(frozen=True, slots=True)
class Row:
    """One live row: a distinct beginning of some of a probe's answers.

    Attributes:
        probe: its index in the chunk.
        token: its last.
        depth: braces open, once one was opened.
        samples: indices of the answers that begin like this.

    """

    probe: int
    token: int
    depth: int
    samples: tuple[int, ...]


class Answers:
    """The P · M answers while they grow.

    Args:
        probes: of the chunk.
        query: how to sample.
        stops: what ends an answer.
        room: for each probe the longest answer that its context has room for.

    Attributes:
        rows: the live ones.

    """

    def __init__(self, probes: Sequence[Probe], query: RolloutQuery, stops: Stops, room: Sequence[int]) -> None:
        self._query = query
        self._stops = stops
        self._limits = [min(query.max_tokens, tokens) for tokens in room]
        self._seeds = [probe.seed for probe in probes]
        self._draws = [np.random.Generator(np.random.PCG64(seed)) for seed in self._seeds]
        self._position = 0
        self._tokens = [[list[int]() for _ in range(query.num_samples)] for _ in probes]
        self._logprobs = [[list[float]() for _ in range(query.num_samples)] for _ in probes]
        everyone = tuple(range(query.num_samples))
        self.rows = [Row(index, -1, 0, everyone) for index in range(len(probes))]

    def step(self, logits_RV: Tensor) -> list[int]:
        """Draw one token for every unfinished answer, and regroup them into rows.

        Returns:
            For each new row, the index of the row it continues.

        """
        coupled = self._query.coupled and self._query.temperature > 0
        token_RM = self._draw_coupled(logits_RV) if coupled else self._draw(logits_RV)
        self._position += 1
        if self._query.logprobs:
            self._remember(logits_RV, token_RM)
        parents, rows = list[int](), list[Row]()
        for index, row in enumerate(self.rows):
            samples_of: dict[int, list[int]] = {}
            for sample in row.samples:
                samples_of.setdefault(int(token_RM[index, sample]), []).append(sample)
            for token, samples in samples_of.items():
                grown = self._grow(row, token, samples)
                if grown:
                    parents.append(index)
                    rows.append(grown)
        self.rows = rows
        return parents

    def completions(self, probe: int) -> tuple[tuple[int, ...], ...]:
        """The M answers of one probe."""
        return tuple(tuple(tokens) for tokens in self._tokens[probe])

    def mean_logprobs(self, probe: int) -> tuple[float, ...]:
        """Of each answer of one probe, over all tokens drawn for it; none where they were not asked for."""
        if not self._query.logprobs:
            return ()
        return tuple(sum(drawn) / len(drawn) for drawn in self._logprobs[probe])

    def _draw(self, logits_RV: Tensor) -> NDArray[np.int64]:
        """Draw all M of a probe, finished or not, so that an answer depends on its own draws only."""
        uniform_PM = [draws.random(self._query.num_samples) for draws in self._draws]
        return draw(logits_RV, np.stack([uniform_PM[row.probe] for row in self.rows]), self._query)

    def _draw_coupled(self, logits_RV: Tensor) -> NDArray[np.int64]:
        """Draw for the unfinished answers alone; entries of others are 0."""
        places = [(index, sample) for index, row in enumerate(self.rows) for sample in row.samples]
        addresses = [Address(self._seeds[self.rows[index].probe], sample, self._position) for index, sample in places]
        token_RM = np.zeros((len(self.rows), self._query.num_samples), np.int64)
        rows, samples = zip(*places, strict=True)
        token_RM[rows, samples] = draw_coupled(logits_RV, rows, addresses, self._query)
        return token_RM

    def _remember(self, logits_RV: Tensor, token_RM: NDArray[np.int64]) -> None:
        """Log-probability of each token that was just drawn for an unfinished answer."""
        tokens = torch.from_numpy(token_RM).to(logits_RV.device)  # pyright: ignore[reportUnknownMemberType] - partial
        logprob_RM = (
            (logits_RV.gather(1, tokens) - logits_RV.logsumexp(dim=-1, keepdim=True)).clamp(max=0.0).cpu().numpy()
        )
        for index, row in enumerate(self.rows):
            for sample in row.samples:
                self._logprobs[row.probe][sample].append(float(logprob_RM[index, sample]))

    def _grow(self, row: Row, token: int, samples: Sequence[int]) -> Row | None:
        """The row's continuation by `token`; None where it ends."""
        if token in self._stops.end_ids:
            return None
        for sample in samples:
            self._tokens[row.probe][sample].append(token)
        braces = self._stops.braces.get(token, "") if self._query.stop_at_close else ""
        depth, closed = after_braces(row.depth, braces)
        if closed or len(self._tokens[row.probe][samples[0]]) == self._limits[row.probe]:
            return None
        return Row(row.probe, token, depth, tuple(samples))
