"""What attacks earn: each is scored as a trainer's traces are, by a bundled model in the real engine.

Dimension key: N problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrt_reward.config import load_settings
from mrt_reward.core.baselines import Extent
from mrt_reward.core.credit import credit
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import values_of
from mrt_reward.errors import ProverError
from mrt_reward.mini.bundled import Bundled
from mrt_reward.mini.comparison import Interval
from mrt_reward.mini.tokenizer import load_tokenizer, token_ids
from mrt_reward.options import ScoreOptions
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Status, Trace
from mrt_reward.wiring import build_scorer
from tests.attacks.texts import HONEST, Attack, Case

Floats = NDArray[np.float64]

COMPANY = 3
"""Honest traces of the problem in the group of each trace: their progress per token is the price of time."""
NET = CreditConfig(baseline="rate")


@dataclass(frozen=True)
class Earned:
    """By one attack.

    It names the right candidate once and a wrong one once, and the two count as often as blind luck would name them.

    Attributes:
        attack: which.
        progress_N: J[K] - J[0] of each problem's trace: what its episodes earn together at alpha 1.
        net_N: the same less the price of its thinking time, with the baseline `rate` in a group of honest traces.
        right_N: outcome.

    """

    attack: Attack
    progress_N: Floats
    net_N: Floats
    right_N: Floats

    @property
    def progress(self) -> Interval:
        """Mean over problems with its 95 % interval."""
        return Interval.over(self.progress_N)


class Range:
    """Problems of a bundled model, and that model to score on them; to be closed.

    Args:
        bundled: whose.
        options: how to score.
        num_problems: N, at least 2.
        seed: of problems and of texts.

    """

    def __init__(self, bundled: Bundled, options: ScoreOptions, num_problems: int, seed: int = 5_000_011) -> None:
        self.bundled = bundled
        self.options = options
        self.problems = bundled.sample(num_problems, seed)
        self.scorer: Scorer = build_scorer(load_settings(model=str(bundled.folder), _env_file=None))
        self._tokenizer = load_tokenizer(bundled.folder)
        self._seed = seed

    async def close(self) -> None:
        """Close the engine."""
        await self.scorer.close()

    def cases(self, draw: int = 0, *, right: bool = True) -> list[Case]:
        """One for each problem; other draws write other texts."""
        return [Case.drawn(problem, self._seed + draw, right=right) for problem in self.problems]

    def trace(self, attack: Attack, case: Case, name: str) -> Trace:
        """As a trainer sends it."""
        text, gold = attack.completion(case), (str(case.problem.answer),)
        if not attack.as_ids:
            return Trace(name, problem=case.problem.text, completion=text, answer=gold)
        ids = np.array(token_ids(self._tokenizer, text), np.int32)
        sha = self.scorer.tokenizer_sha256
        return Trace(name, problem=case.problem.text, completion_ids=ids, tokenizer=sha, answer=gold)

    async def scored(self, attack: Attack, draw: int = 0, *, right: bool = True) -> list[ScoredTrace]:
        """The attack's trace on each problem.

        Raises:
            ProverError: one was not wholly scored: what it earns is not known, and not nothing.

        """
        cases = self.cases(draw, right=right)
        return await self.score([self.trace(attack, case, str(number)) for number, case in enumerate(cases)])

    async def score(self, traces: Sequence[Trace]) -> list[ScoredTrace]:
        """Traces with all of their values; raises as `scored`."""
        scored = list(await self.scorer.score(traces, self.options))
        failed = next((each for each in scored if each.status is not Status.OK), None)
        if failed is not None:
            raise ProverError(f"a trace was not scored: {failed.error or failed.status}")
        return scored

    async def company(self) -> list[list[ScoredTrace]]:
        """For each problem, `COMPANY` honest traces."""
        drawn = [await self.scored(HONEST, draw) for draw in range(1, COMPANY + 1)]
        return [list(group) for group in zip(*drawn, strict=True)]


async def earned(where: Range, attacks: Sequence[Attack], tell: Callable[[str], None] = lambda _: None) -> list[Earned]:
    """Each attack on all problems of a range; `tell` is called with the name of what is done."""
    groups = await where.company()
    luck_N = np.array([1.0 / len(problem.candidates) for problem in where.problems])
    found: list[Earned] = []
    for attack in attacks:
        lucky = _amounts(await where.scored(attack), groups)
        unlucky = lucky if attack.knows else _amounts(await where.scored(attack, right=False), groups)
        found.append(
            Earned(
                attack, *(luck_N * won_N + (1 - luck_N) * lost_N for won_N, lost_N in zip(lucky, unlucky, strict=True))
            )
        )
        tell(attack.name)
    return found


def _amounts(scored: Sequence[ScoredTrace], groups: Sequence[Sequence[ScoredTrace]]) -> tuple[Floats, Floats, Floats]:
    """Progress, net progress and outcome of each trace."""
    return (
        np.array([_risen(trace) for trace in scored]),
        np.array([_net([trace, *group]) for trace, group in zip(scored, groups, strict=True)]),
        np.array([trace.outcome for trace in scored], np.float64),
    )


def _risen(trace: ScoredTrace) -> float:
    value_P = values_of(trace)
    return float(value_P[-1] - value_P[0]) if value_P is not None else np.nan


def _net(group: Sequence[ScoredTrace]) -> float:
    """Of the group's first trace: the sum of what its episodes are paid, the price of time taken off."""
    values, extents = [values_of(trace) for trace in group], [Extent.of(trace) for trace in group]
    # Outcomes are left out: all alike, their advantage is 0.
    return float(credit([0.0] * len(group), values, NET, extents)[0].episode_advantage_K.sum())
