"""Per-step preference pairs from traces that went wrong, in DPO's format.

*RL on Incorrect Synthetic Data* (arXiv 2406.14532) finds that preferences between single steps, by their advantage,
teach 8 times as much from wrong traces as training on right ones. From one prefix, the episode that a wrong trace
took is set against another that is clearly better: the intervals of the values after them do not overlap, and their
difference is a margin at least.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le

from mrt_reward.evaluation.datasets.prompts import AS_IT_IS, turn
from mrt_reward.evaluation.pool import indices_by_problem
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.states import EpisodeAt, States, states, with_steps
from mrt_reward.ranges import check_ranges, option


@dataclass(frozen=True, slots=True)
class PairSettings:
    """Which steps make a pair.

    The widest margins of a wrong trace come first.

    Raises:
        ValueError: a field is outside its range.

    """

    min_margin: Annotated[float, Gt(0), Le(1)] = option(0.2, "Least difference of the values after the two steps.")
    per_trace: Annotated[int, Ge(1)] = option(4, "Most pairs of one wrong trace.")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two steps from one prefix, one clearly better.

    Attributes:
        chosen: the better one.
        rejected: of a wrong trace.
        margin: how much higher the value after the chosen step is.

    """

    chosen: EpisodeAt
    rejected: EpisodeAt
    margin: float

    @property
    def stderr(self) -> float:
        """Standard error of the margin, for independent estimates."""
        return math.hypot(_number(self.chosen.after.stderr), _number(self.rejected.after.stderr))


@dataclass
class PairReport:
    """How the wrong traces of a pool became pairs.

    Attributes:
        wrong: traces with a wrong final answer.
        unknown: traces whose outcome is not known, and which are therefore no source of rejected steps.
        paired: wrong traces with a pair at least.
        steps: their whole steps with values.
        alone: of them, those with no other step from the same prefix.
        unclear: of them, those with others, none clearly better.
        pits: where alternatives may be sampled: the worst step of each wrong trace without a pair.

    """

    wrong: int = 0
    unknown: int = 0
    paired: int = 0
    steps: int = 0
    alone: int = 0
    unclear: int = 0
    pits: list[EpisodeAt] = field(default_factory=list[EpisodeAt])

    def counts(self) -> Mapping[str, int]:
        """For people."""
        return {
            "wrong traces": self.wrong,
            "of them with a pair": self.paired,
            "traces whose outcome is not known": self.unknown,
            "steps of wrong traces": self.steps,
            "no other step from the same prefix": self.alone,
            "no other step clearly better": self.unclear,
        }


def step_pairs(
    traces: Sequence[Result], settings: PairSettings, sampled: Sequence[EpisodeAt] = ()
) -> tuple[list[Pair], PairReport]:
    """Pairs of all wrong traces, in their order, each (prefix, rejected text) once.

    Args:
        traces: of the pool; the wrong ones give the rejected steps, and all of a problem the chosen ones.
        settings: which make a pair.
        sampled: further steps to choose among.

    """
    report = PairReport()
    found: dict[int, tuple[list[Pair], list[EpisodeAt]]] = {}
    more: dict[bytes, list[EpisodeAt]] = {}
    for step in sampled:
        more.setdefault(step.trace.problem_key, []).append(step)
    # Problem by problem, because only one problem's steps need be in memory; put back in order then.
    for indices in indices_by_problem(traces):
        steps = with_steps(states([traces[index] for index in indices]), more.get(traces[indices[0]].problem_key, ()))
        seen: set[tuple[bytes, str]] = set()
        for index in indices:
            found[index] = _found(traces[index], steps, seen, settings, report)
    in_order = [found[index] for index in range(len(traces))]
    report.pits = [pit for _, pits in in_order for pit in pits]
    return [pair for pairs, _ in in_order for pair in pairs], report


def _found(
    trace: Result, steps: States, seen: set[tuple[bytes, str]], settings: PairSettings, report: PairReport
) -> tuple[list[Pair], list[EpisodeAt]]:
    """The pairs of one trace that were not `seen`; and if it has none at all, where alternatives may be sampled."""
    if trace.is_right is None:
        report.unknown += 1
    if trace.is_right is not False:
        return [], []
    report.wrong += 1
    mine = _pairs_of(trace, steps, settings, report)
    fresh = [(key, pair) for key, pair in mine if (key, pair.rejected.text) not in seen]
    seen.update((key, pair.rejected.text) for key, pair in fresh)
    report.paired += bool(mine)
    return [pair for _, pair in fresh], [] if mine else _pit(trace)


def _pairs_of(trace: Result, found: States, settings: PairSettings, report: PairReport) -> list[tuple[bytes, Pair]]:
    """Pairs of one wrong trace, the widest margins first."""
    pairs: list[tuple[bytes, Pair]] = []
    for index, key in zip(range(trace.num_episodes), trace.prefix_keys(), strict=False):
        rejected = EpisodeAt(trace, index)
        if not rejected.is_whole or rejected.before.value is None or rejected.after.value is None:
            continue
        report.steps += 1
        others = [step for step in found.get(key, []) if step.text != rejected.text]
        pair = _pair(max(others, key=_sureness), rejected) if others else None
        if pair is not None and is_clear(pair, settings):
            pairs.append((key, pair))
        elif pair is None:
            report.alone += 1
        else:
            report.unclear += 1
    return sorted(pairs, key=lambda keyed: -keyed[1].margin)[: settings.per_trace]


def _pair(chosen: EpisodeAt, rejected: EpisodeAt) -> Pair:
    return Pair(chosen, rejected, _number(chosen.after.value) - _number(rejected.after.value))


def _sureness(step: EpisodeAt) -> tuple[float, float]:
    """Of two steps, the one whose value is surely higher comes last."""
    return _number(step.after.low), _number(step.after.value)


def is_clear(pair: Pair, settings: PairSettings) -> bool:
    """Whether the margin is wide enough, and the 95 % intervals of the two values do not overlap."""
    apart = _number(pair.chosen.after.low) > _number(pair.rejected.after.high)
    return apart and pair.margin >= settings.min_margin


def _pit(trace: Result) -> list[EpisodeAt]:
    """The whole step that earned least, the earliest of equals; none where no value is known."""
    steps = [EpisodeAt(trace, index) for index in range(trace.num_episodes)]
    known = [step for step in steps if step.is_whole and step.before.value is not None and step.after.value is not None]
    return [min(known, key=lambda step: _number(step.after.value) - _number(step.before.value))] if known else []


def pair_row(pair: Pair, prompt: str, *, chats: bool = True) -> Mapping[str, object]:
    """One row as DPO trainers read it: `prompt`, `chosen` and `rejected`.

    A step is not the end of what the policy says, so no end of turn may follow it. TRL puts one behind text, and none
    behind chats: so by default the three are chats, with a template (`chat_template_kwargs`) that leaves them alone.

    Args:
        pair: two steps.
        prompt: of their problem, rendered, with thinking opened at its end.
        chats: whether the three are chats of one turn, or text.

    """
    rejected = pair.rejected
    start = prompt + rejected.trace.prefix(rejected.index)
    said: Mapping[str, object] = {"prompt": start, "chosen": pair.chosen.text, "rejected": rejected.text}
    if chats:
        said = {
            "prompt": turn("user", start),
            "chosen": turn("assistant", pair.chosen.text),
            "rejected": turn("assistant", rejected.text),
            "chat_template_kwargs": {"chat_template": AS_IT_IS},
        }
    return {
        **said,
        "id": rejected.trace.trace.id,
        "group": rejected.trace.trace.group,
        "mrt_episode": rejected.index,
        "mrt_margin": pair.margin,
        "mrt_margin_stderr": pair.stderr,
        **{
            f"mrt_{name}_{end}": getattr(step.after, end)
            for name, step in (("chosen", pair.chosen), ("rejected", rejected))
            for end in ("value", "low", "high")
        },
    }


def summary(pairs: Sequence[Pair], report: PairReport, sampled: Mapping[str, int]) -> Mapping[str, object]:
    """For a JSON file.

    Args:
        pairs: that were written.
        report: how they came about.
        sampled: what sampling alternatives gave, by kind; empty where none were sampled.

    """
    indices = Counter(pair.rejected.index for pair in pairs)
    return {
        "pairs": len(pairs),
        **report.counts(),
        "sampled": dict(sampled),
        "mean_margin": math.fsum(pair.margin for pair in pairs) / len(pairs) if pairs else None,
        "by_episode": {str(index): indices[index] for index in sorted(indices)},
    }


def _number(known: float | None) -> float:
    assert known is not None  # noqa: S101 - steps without values are left out of states
    return known
