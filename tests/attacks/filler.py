"""What words are paid that say nothing, in the one place where credit cannot tell them apart: a rising episode.

Credit is the same on all tokens of an episode, so that filler which stands in an honest episode that rises is paid as
its other tokens are. Here filler of several lengths is written behind the verdict of the episode that rose most of an
honest trace, and everything else stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mrt_reward.core.baselines import Extent
from mrt_reward.core.credit import Credit, credit
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.core.progress import values_of
from mrt_reward.types import ScoredTrace, Trace
from tests.attacks.measuring import Range
from tests.attacks.texts import HONEST

SENTENCE = "So that is how it is. "
REPEATS = (0, 2, 5, 20)
SENTENCE_TOKENS = 7
"""Of the sentence, in the bundled models' tokens."""
_LOOKED_AT = REPEATS.index(5)

SETTINGS: Mapping[str, CreditConfig] = {
    "`baseline=none`, the paper's": CreditConfig(),
    "`baseline=none pay_ending=true`": CreditConfig(pay_ending=True),
    "`baseline=none length_norm=episode`": CreditConfig(length_norm="episode"),
    "`baseline=group`": CreditConfig(baseline="group"),
    "`baseline=rate`": CreditConfig(baseline="rate"),
    "`baseline=rate pay_ending=true`": CreditConfig(baseline="rate", pay_ending=True),
    "`baseline=rate length_norm=episode`": CreditConfig(baseline="rate", length_norm="episode"),
}


@dataclass(frozen=True)
class Paid:
    """Under one setting, means over problems, without the outcome's advantage.

    Attributes:
        total: for each of `REPEATS`, what all tokens of the thinking and the one that ends it are paid together.
        going_on: what a token of the episode is paid, behind five sentences of filler.
        ending: what the token is paid that ends the episode there instead.

    """

    total: tuple[float, ...]
    going_on: float
    ending: float


@dataclass(frozen=True)
class _Drawn:
    """A trace with filler, scored.

    Attributes:
        scored: its values.
        episode: the one in which the filler ends.
        group: honest traces of its problem.

    """

    scored: ScoredTrace
    episode: int
    group: Sequence[ScoredTrace]

    def credit(self, config: CreditConfig) -> Credit:
        """Of the trace in its group; outcomes are all alike, so that their advantage is 0."""
        traces = [self.scored, *self.group]
        values, extents = [values_of(trace) for trace in traces], [Extent.of(trace) for trace in traces]
        return credit([0.0] * len(traces), values, config, extents)[0]


async def paid_for_filler(where: Range) -> dict[str, Paid]:
    """By the name of each setting, all on the same traces."""
    groups = await where.company()
    traces = [where.trace(HONEST, case, str(number)) for number, case in enumerate(where.cases())]
    ends = [_risen_most(trace) for trace in await where.score(traces)]
    drawn: list[list[_Drawn]] = []
    for repeats in REPEATS:
        longer = [_with_filler(trace, end, repeats) for trace, end in zip(traces, ends, strict=True)]
        scored = await where.score(longer)
        last = [end + len(_filler(repeats)) - 1 for end in ends]
        drawn.append(
            [_Drawn(each, _episode_at(each, at), group) for each, at, group in zip(scored, last, groups, strict=True)]
        )
    return {name: _paid(config, drawn) for name, config in SETTINGS.items()}


def _filler(repeats: int) -> str:
    return f"{(SENTENCE * repeats).strip()}\n\n" if repeats else ""


def _risen_most(trace: ScoredTrace) -> int:
    """Where the episode ends that earned most, in characters."""
    return max(trace.episodes, key=lambda each: each.progress or 0.0).char_end


def _with_filler(trace: Trace, end: int, repeats: int) -> Trace:
    text = trace.completion or ""
    return replace(trace, completion=f"{text[:end]}{_filler(repeats)}{text[end:]}")


def _episode_at(trace: ScoredTrace, at: int) -> int:
    return next(number for number, each in enumerate(trace.episodes) if each.char_start <= at < each.char_end)


def _paid(config: CreditConfig, drawn: Sequence[Sequence[_Drawn]]) -> Paid:
    totals = [float(np.mean([_total(each, each.credit(config)) for each in some])) for some in drawn]
    looked_at = [(each.episode, each.credit(config)) for each in drawn[_LOOKED_AT]]
    going_on = [float(paid.episode_advantage_K[episode]) for episode, paid in looked_at]
    return Paid(tuple(totals), float(np.mean(going_on)), float(np.mean([_ending(*each) for each in looked_at])))


def _total(drawn: _Drawn, paid: Credit) -> float:
    length_K = np.array([each.token_end - each.token_start for each in drawn.scored.episodes])
    return float(length_K @ paid.episode_advantage_K + paid.ending_bonus_K.sum()) + paid.closing_advantage


def _ending(episode: int, paid: Credit) -> float:
    """Of the token behind an episode: what it is paid anyway, and the bonus for ending."""
    follows = [*paid.episode_advantage_K[1:].tolist(), paid.closing_advantage]
    return follows[episode] + float(paid.ending_bonus_K[episode])
