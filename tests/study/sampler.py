"""Samples groups of completions side by side; rows that have ended leave, so that the last ones run alone.

A token is drawn by one uniform number that belongs to its prompt, row and place, so that what a row writes does not
depend on who runs beside it, but for rounding.

Dimension key: P prompts · G rows of a prompt · W tokens of a padded prompt · T tokens · V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tests.study.network import Cache, Network, Prompts

_FULL_SHARE = 0.85
"""Rows leave when no more than this share of the running ones is left."""


@dataclass(frozen=True)
class Sampling:
    """How completions are sampled.

    Attributes:
        group_size: G.
        budget_tokens: most tokens of a completion.
        temperature: above 0.
        end: token that ends a completion.
        pad: token that fills up prompts.
        seed: of the draws.

    """

    group_size: int
    budget_tokens: int
    temperature: float
    end: int
    pad: int
    seed: int


def padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left: ids, and which are no padding; both `PW`."""
    width = max(len(prompt) for prompt in prompts)
    id_PW = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    seen_PW = torch.tensor([[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    return id_PW, seen_PW


@torch.no_grad()
def sample(network: Network, prompts: Sequence[Sequence[int]], how: Sampling) -> list[list[int]]:
    """Completions of each prompt, group after group; the end token is included where it was reached."""
    size = (len(prompts), how.group_size)
    device = network.device
    # Drawn on the CPU, so that a seed means the same everywhere.
    draw_PGT = torch.rand(*size, how.budget_tokens, generator=torch.Generator().manual_seed(how.seed)).to(device)
    token_PGT = torch.full((*size, how.budget_tokens), how.end, device=device)
    read = network.read(*(each.to(device) for each in padded(prompts, how.pad)))
    runs_PG = torch.ones(size, dtype=torch.bool, device=device)
    run = _Run(read, network.new_cache(*size, how.budget_tokens), _grid(*size).to(device), runs_PG)
    logits = network.logits(read.last_PD)[:, None].expand(-1, how.group_size, -1)
    for place in range(how.budget_tokens):
        p, g = run.where[..., 0], run.where[..., 1]
        next_PG = _drawn(logits / how.temperature, draw_PGT[p, g, place])
        next_PG = torch.where(run.runs_PG, next_PG, how.end)
        token_PGT[p, g, place] = torch.where(run.runs_PG, next_PG, token_PGT[p, g, place])
        run.runs_PG &= next_PG != how.end
        if not run.runs_PG.any() or place + 1 == how.budget_tokens:
            break
        next_PG = run.compacted(next_PG)
        logits = network.logits(network.write(next_PG[..., None], run.prompts, run.cache)[:, :, 0])
    rows = [row for group in token_PGT.tolist() for row in group]
    return [row[: row.index(how.end) + 1] if how.end in row else row for row in rows]


def _drawn(logit_PGV: Tensor, draw_PG: Tensor) -> Tensor:
    """The token in whose part of the cumulated probability each draw falls."""
    cumulated_PGV = logit_PGV.softmax(-1).cumsum(-1)
    aimed_PG1 = draw_PG[..., None] * cumulated_PGV[..., -1:]
    return torch.searchsorted(cumulated_PGV, aimed_PG1, right=True)[..., 0].clamp(max=logit_PGV.shape[-1] - 1)


def _grid(num_prompts: int, group_size: int) -> Tensor:
    """Prompt and row of each place of a rectangle, `PG2`."""
    return torch.stack(torch.meshgrid(torch.arange(num_prompts), torch.arange(group_size), indexing="ij"), -1)


@dataclass
class _Run:
    """What still runs, as a rectangle of prompts and rows; places that are not needed hold rows that have ended."""

    prompts: Prompts
    cache: Cache
    where: Tensor
    runs_PG: Tensor

    def compacted(self, next_PG: Tensor) -> Tensor:
        """Leave out prompts and rows that have ended, where that is worth the copying."""
        num_rows = int(self.runs_PG.sum(1).max())
        kept_P = self.runs_PG.any(1).nonzero()[:, 0]
        if len(kept_P) * num_rows > _FULL_SHARE * self.runs_PG.numel():
            return next_PG
        # Those that run come first, in their order.
        row_PG = (~self.runs_PG[kept_P]).long().sort(dim=1, stable=True).indices[:, :num_rows]
        p, g = kept_P[:, None], row_PG
        self.prompts = Prompts(
            [key[kept_P] for key in self.prompts.keys],
            [value[kept_P] for value in self.prompts.values],
            self.prompts.seen_PW[kept_P],
            self.prompts.last_PD[kept_P],
        )
        self.cache = Cache(
            [k[p, g] for k in self.cache.keys], [v[p, g] for v in self.cache.values], self.cache.num_tokens
        )
        self.where, self.runs_PG = self.where[p, g], self.runs_PG[p, g]
        return next_PG[p, g]
