"""Sampled answers from one packed row: every distinct beginning of an answer is computed once.

The M answers of a probe start as one row, the suffix's end, and part where their draws differ. A live row is a distinct
(probe, tokens so far), so greedy answers need one row whatever M is. Rows of several packed rows are drawn together,
each by its own draws alone.

Dimension key: P probes · M answers · R live rows · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
class LiveRow:
    """One live row: a distinct beginning of some of a probe's answers.

    Attributes:
        probe: its index in the chunk.
        token: its last token.
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
        self.rows = [LiveRow(index, -1, 0, everyone) for index in range(len(probes))]

    @property
    def query(self) -> RolloutQuery:
        """How they are sampled."""
        return self._query

    def probes(self) -> NDArray[np.int64]:
        """`probe_R`, the probe of each live row, ascending."""
        return np.array([row.probe for row in self.rows], np.int64)

    @property
    def num_unfinished(self) -> int:
        """Answers that still grow."""
        return sum(len(row.samples) for row in self.rows)

    def step(self, logits_RV: Tensor) -> list[int]:
        """Draw one token for every unfinished answer, and regroup them into rows.

        Returns:
            For each new row, the index of the row it continues.

        """
        return self.grow(logits_RV, draw_together([self], logits_RV))

    def grow(self, logits_RV: Tensor, token_RM: NDArray[np.int64]) -> list[int]:
        """Go on by the tokens that `draw_together` gave; see `step`."""
        self._position += 1
        if self._query.logprobs:
            self._remember(logits_RV, token_RM)
        parents, rows = list[int](), list[LiveRow]()
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

    def uniforms(self) -> NDArray[np.float64]:
        """All M draws of each row's probe, finished answers or not, so that an answer depends on its own alone."""
        uniform_PM = [draws.random(self._query.num_samples) for draws in self._draws]
        return np.stack([uniform_PM[row.probe] for row in self.rows])

    def addresses(self) -> Iterator[tuple[int, Address]]:
        """Row and noise of each unfinished answer's next token."""
        for index, row in enumerate(self.rows):
            for sample in row.samples:
                yield index, Address(self._seeds[row.probe], sample, self._position)

    def completions(self, probe: int) -> tuple[tuple[int, ...], ...]:
        """The M answers of one probe."""
        return tuple(tuple(tokens) for tokens in self._tokens[probe])

    def mean_logprobs(self, probe: int) -> tuple[float, ...]:
        """Of each answer of one probe, over all tokens drawn for it; none where they were not asked for."""
        if not self._query.logprobs:
            return ()
        return tuple(sum(drawn) / len(drawn) for drawn in self._logprobs[probe])

    def _remember(self, logits_RV: Tensor, token_RM: NDArray[np.int64]) -> None:
        """Log-probability of each token that was just drawn for an unfinished answer."""
        tokens = torch.from_numpy(token_RM).to(logits_RV.device)  # pyright: ignore[reportUnknownMemberType] - partial
        logprob_RM = (
            (logits_RV.gather(1, tokens) - logits_RV.logsumexp(dim=-1, keepdim=True)).clamp(max=0.0).cpu().numpy()
        )
        for index, row in enumerate(self.rows):
            for sample in row.samples:
                self._logprobs[row.probe][sample].append(float(logprob_RM[index, sample]))

    def _grow(self, row: LiveRow, token: int, samples: Sequence[int]) -> LiveRow | None:
        """The row's continuation by `token`; None where it ends."""
        if token in self._stops.end_ids:
            return None
        for sample in samples:
            self._tokens[row.probe][sample].append(token)
        braces = self._stops.braces.get(token, "") if self._query.stop_at_close else ""
        depth, closed = after_braces(row.depth, braces)
        if closed or len(self._tokens[row.probe][samples[0]]) == self._limits[row.probe]:
            return None
        return LiveRow(row.probe, token, depth, tuple(samples))


def draw_together(growing: Sequence[Answers], logits_RV: Tensor) -> NDArray[np.int64]:
    """The next tokens of several packed rows' answers, which are sampled alike.

    Args:
        growing: each with live rows, and with the same query but for its `max_tokens`.
        logits_RV: of all their rows, one after the other.

    Returns:
        `token_RM`; what is drawn for a finished answer means nothing.

    """
    query = growing[0].query
    if not query.coupled or query.temperature == 0:
        return draw(logits_RV, np.concatenate([each.uniforms() for each in growing]), query)
    starts = np.cumsum([0, *(len(each.rows) for each in growing)]).tolist()
    pairs = [
        (start + index, address)
        for start, each in zip(starts, growing, strict=False)
        for index, address in each.addresses()
    ]
    rows, addresses = zip(*pairs, strict=True)
    token_RM = np.zeros((len(logits_RV), query.num_samples), np.int64)
    token_RM[rows, [address.sample for address in addresses]] = draw_coupled(logits_RV, rows, addresses, query)
    return token_RM
