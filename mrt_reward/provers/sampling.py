"""Sampled answers from one packed row: every distinct beginning of an answer is computed once.

The M answers of a probe start as one row, the suffix's end, and part where their draws differ. A live row is a distinct
(probe, tokens so far), so greedy answers need one row whatever M is.

Dimension key: P probes · M answers · R live rows · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mrt_reward.protocols import Probe, RolloutQuery
from mrt_reward.provers.braces import after_braces

_NUM_TOP = 256


@dataclass(frozen=True, slots=True)
class Stops:
    """What ends an answer.

    Attributes:
        end_ids: the model's ends of turn.
        braces: the braces in each token that has any, such as `"}{"`.

    """

    end_ids: frozenset[int]
    braces: Mapping[int, str]


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


def draw(logits_RV: Tensor, uniform_RM: NDArray[np.float64], query: RolloutQuery) -> NDArray[np.int64]:
    """Tokens by inversion of the cumulative distribution, so that they depend on the row and its draws only.

    With `top_p` below 1 the cumulative sum runs over the nucleus, most probable first; otherwise over all ids in order.

    Returns:
        `token_RM`; every column is the most probable token at temperature 0.

    """
    if query.temperature == 0:
        return logits_RV.argmax(dim=-1, keepdim=True).expand(-1, uniform_RM.shape[1]).cpu().numpy()
    probability_RV = (logits_RV.double() / query.temperature).softmax(dim=-1)
    uniform = torch.from_numpy(uniform_RM).to(logits_RV.device)  # pyright: ignore[reportUnknownMemberType] - partial
    if query.top_p == 1:
        return _invert(probability_RV.cumsum(dim=-1), uniform).cpu().numpy()
    top, ids = probability_RV.topk(min(_NUM_TOP, probability_RV.shape[-1]), dim=-1)
    token_RM = ids.gather(1, _invert(_nucleus(top, query.top_p), uniform))
    # A flat distribution's nucleus is longer. This is told row by row: neighbours must not change a row's tokens.
    flat = (top.sum(dim=-1) < query.top_p).nonzero()[:, 0]
    if len(flat) and probability_RV.shape[-1] > _NUM_TOP:
        top, ids = probability_RV[flat].sort(dim=-1, descending=True, stable=True)
        token_RM[flat] = ids.gather(1, _invert(_nucleus(top, query.top_p), uniform[flat]))
    return token_RM.cpu().numpy()


def _nucleus(top: Tensor, top_p: float) -> Tensor:
    """Cumulative probabilities of the fewest most probable tokens that reach `top_p`; constant after them."""
    return torch.where(top.cumsum(dim=-1) - top < top_p, top, 0.0).cumsum(dim=-1)


def _invert(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """Index of the token whose slice of the (unnormalised) cumulative distribution holds each draw in [0, 1)."""
    total = cumulative[:, -1:].contiguous()
    index = torch.searchsorted(cumulative, uniform * total, right=True)
    # Rounding may put the last draw on the total itself: the last token with any probability takes it.
    return torch.minimum(index, torch.searchsorted(cumulative, total))


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
        self._draws = [np.random.Generator(np.random.PCG64(probe.seed)) for probe in probes]
        self._tokens = [[list[int]() for _ in range(query.num_samples)] for _ in probes]
        self._logprobs = [[list[float]() for _ in range(query.num_samples)] for _ in probes]
        everyone = tuple(range(query.num_samples))
        self.rows = [Row(index, -1, 0, everyone) for index in range(len(probes))]

    def step(self, logits_RV: Tensor) -> list[int]:
        """Draw one token for every unfinished answer, and regroup them into rows.

        All M draws of a probe are made at each step, finished or not, so that an answer depends on its own draws only.

        Returns:
            For each new row, the index of the row it continues.

        """
        uniform_PM = [draws.random(self._query.num_samples) for draws in self._draws]
        token_RM = draw(logits_RV, np.stack([uniform_PM[row.probe] for row in self.rows]), self._query)
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
