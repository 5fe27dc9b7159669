r"""MRT-STaR: the traces that made most progress, cut where they were done, as chats to fine-tune on.

The paper (figure 6) samples traces, forces an answer after every episode, and keeps those that maximise progress and
whose forced answer is right. Of each trace we keep the shortest prefix from which no later one is distinguishable
upwards: what follows it earned nothing, and cumulative regret (Definition 5.1) counts every episode spent there.
*Differs from the paper:* it says which traces are kept, not where a kept one ends; `truncate=False` keeps them whole.
`outcome` is plain STaR: whole traces whose own answer is right, whatever they did on the way.

Dimension key: K episodes · P = K + 1 prefixes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from mrt_reward.core.progress import Floats
from mrt_reward.evaluation.datasets.prompts import messages_of
from mrt_reward.evaluation.pool import THINK_TAGS, indices_by_problem
from mrt_reward.evaluation.result import Result
from mrt_reward.options import TERMINATORS, Delimiters
from mrt_reward.ranges import check_ranges, option

Select = Literal["progress", "outcome"]
Ending = Literal["own", "forced"]


@dataclass(frozen=True, slots=True)
class StarSettings:
    """What is kept.

    Traces are cut under `progress` only. A trace may stay below its problem's best by the tolerance, too. A cut leaves
    some episodes, so that thinking is not unlearned.

    Raises:
        ValueError: a field is outside its range.

    """

    select: Select = option("progress", "progress: MRT-STaR. outcome: plain STaR, whole traces whose answer is right.")
    truncate: bool = option(True, "Cut a trace where its value has reached its top.")
    tolerance: Annotated[float, Ge(0), Le(1)] = option(0.02, "Values this close are the same.")
    min_value: Annotated[float, Ge(0), Le(1)] = option(
        0.5, "Value at the cut from which the forced answer counts as right."
    )
    min_episodes: Annotated[int, Ge(0)] = option(1, "A cut leaves at least these.")
    per_problem: Annotated[int, Ge(1)] = option(1, "Most traces of a problem.")
    answer: Ending = option("own", "own: the trace's own ending where right, else the boxed gold answer. forced: that.")

    def __post_init__(self) -> None:
        check_ranges(self)


class Fate(str, Enum):
    """What became of a trace, and why."""

    WHOLE = "kept whole"
    CUT = "kept, cut where its value reached its top"
    WRONG = "its final answer is wrong or not known"
    FORCED_WRONG = "forced to answer at its best prefix, it is wrong"
    LESS_PROGRESS = "another trace of the problem made more progress"
    SURPLUS = "the problem has enough traces that are as good"
    PARTIAL = "a value is missing"
    NO_ANSWER = "its own ending is not right, and there is no gold answer to box"

    @property
    def is_kept(self) -> bool:
        """Whether it is in the data."""
        return self in (Fate.WHOLE, Fate.CUT)


@dataclass(frozen=True, slots=True)
class SelectedTrace:
    """One trace and what became of it.

    Attributes:
        trace: of the pool.
        fate: why it is kept or not.
        cut: number of its episodes that are kept; K where it is whole.
        progress: J at the cut minus J[0]; NaN where a value is missing.
        regret: of `z[:cut]`, in tokens (`regret_tokens`); NaN likewise.

    """

    trace: Result
    fate: Fate
    cut: int
    progress: float
    regret: float


def top_prefix(value_P: Floats, high_P: Floats, *, tolerance: float = 0.02, min_episodes: int = 1) -> int:
    """Where a trace is done: the earliest prefix that no later one clearly beats.

        cut = min { j ≥ min_episodes : high[j] ≥ max_i J[i] - tolerance }

    Args:
        value_P: J of the prefixes, without gaps.
        high_P: upper ends of their 95 % intervals, which are the values themselves where there is no sampling error.
        tolerance: a rise below this is none.
        min_episodes: least j; at most K counts.

    Returns:
        j, 0 … K. With exact values, `value_P[cut]` is within `tolerance` of the largest value from there on.

    """
    if value_P.ndim != 1 or value_P.size == 0 or value_P.shape != high_P.shape:
        raise ValueError(f"expected two arrays of one shape (P,) with P >= 1, got {value_P.shape} and {high_P.shape}")
    first = min(min_episodes, value_P.size - 1)
    return first + int(np.argmax(high_P[first:] >= value_P[first:].max() - tolerance))


def regret_tokens(value_P: Floats, token_P: Floats, cut: int) -> float:
    """Tokens' worth of being wrong on the way: Σ_{j<cut} (1 - J[j])·(tokens of z[j]), a cumulative regret in tokens.

    At least 0, and at most the tokens of `z[:cut]`; of two traces that got as far, the one that got there sooner has
    less.
    """
    return float(((1.0 - value_P[:cut]) * np.diff(token_P[: cut + 1])).sum())


def judge(pool: Sequence[Result], settings: StarSettings) -> list[SelectedTrace]:
    """Decide on every trace of the pool, in its order."""
    judged = [_judge_alone(trace, settings) for trace in pool]
    for indices in indices_by_problem(pool):
        good = [member for member in indices if judged[member].fate.is_kept]
        for index, fate in _losers([judged[member] for member in good], settings):
            judged[good[index]] = replace(judged[good[index]], fate=fate)
    return judged


def _judge_alone(trace: Result, settings: StarSettings) -> SelectedTrace:
    """Whether a trace could be kept, and where it would be cut."""
    fate, cut = _fate(trace, settings)
    value_P = trace.values
    token_P = np.array([trace.tokens_at(index) for index in range(trace.num_episodes + 1)], np.float64)
    return SelectedTrace(trace, fate, cut, float(value_P[cut] - value_P[0]), regret_tokens(value_P, token_P, cut))


def _fate(trace: Result, settings: StarSettings) -> tuple[Fate, int]:
    """What would become of the trace if it were its problem's only one, and where it would be cut."""
    whole = trace.num_episodes
    if settings.select == "outcome":
        return Fate.WHOLE if trace.is_right else Fate.WRONG, whole
    if not trace.is_complete:
        return Fate.PARTIAL, whole
    cut = whole
    if settings.truncate:
        cut = top_prefix(trace.values, trace.highs, tolerance=settings.tolerance, min_episodes=settings.min_episodes)
    if trace.values[cut] < settings.min_value:
        return Fate.FORCED_WRONG, cut
    if not _own_ending(trace, settings) and not trace.trace.answer:
        return Fate.NO_ANSWER, cut
    return Fate.WHOLE if cut == whole else Fate.CUT, cut


def _losers(group: Sequence[SelectedTrace], settings: StarSettings) -> list[tuple[int, Fate]]:
    """Those of a problem's good traces that others leave out: indices in the group, and why."""
    order = list(range(len(group)))
    lost: list[tuple[int, Fate]] = []
    if settings.select == "progress" and group:
        best = max(judged.progress for judged in group)
        lost = [
            (index, Fate.LESS_PROGRESS)
            for index, judged in enumerate(group)
            if judged.progress < best - settings.tolerance
        ]
        left_out = {index for index, _ in lost}
        order = sorted((index for index in order if index not in left_out), key=lambda index: group[index].regret)
    return lost + [(index, Fate.SURPLUS) for index in order[settings.per_problem :]]


def _own_ending(trace: Result, settings: StarSettings) -> bool:
    """Whether the trace's own final answer may follow the cut."""
    return bool(trace.is_right and trace.ending and (settings.answer == "own" or settings.select == "outcome"))


def response(judged: SelectedTrace, settings: StarSettings, delimiters: Delimiters = THINK_TAGS) -> str:
    """What the assistant says: thinking up to the cut, within its delimiters, and the answer.

    White space before the closing delimiter is what the trace itself had there, or a line break.
    """
    trace = judged.trace
    thinking = trace.prefix(judged.cut)
    if trace.ending:
        whole = trace.prefix(trace.num_episodes)
        gap = whole[len(whole.rstrip()) :]
    else:
        gap = "\n"
    if delimiters.close:
        thinking = thinking.rstrip() + gap
    if delimiters.open:
        # A policy whose template opens thinking without a line break writes it itself.
        thinking = f"{delimiters.open}{'' if thinking.startswith(chr(10)) else chr(10)}{thinking}"
    if _own_ending(trace, settings):
        return thinking + trace.ending
    closed = TERMINATORS["boxed"].forced.replace(THINK_TAGS.close, delimiters.close)
    return f"{thinking}{closed}{{{trace.trace.answer[0]}}}"


def chat_row(
    judged: SelectedTrace, settings: StarSettings, delimiters: Delimiters = THINK_TAGS
) -> Mapping[str, object]:
    """One row of chat data: `messages`, and where it comes from.

    Raises:
        TraceError: the trace holds a rendered prompt only.

    """
    turns = [{"role": turn.role, "content": turn.content} for turn in messages_of(judged.trace.trace)]
    said = {"role": "assistant", "content": response(judged, settings, delimiters)}
    return {"messages": [*turns, said], **provenance(judged, settings)}


def text_row(
    judged: SelectedTrace, prompt: str, settings: StarSettings, delimiters: Delimiters = THINK_TAGS
) -> Mapping[str, object]:
    """One row of `prompt` and `completion`, which no template touches; some drop the thinking from a chat.

    Args:
        judged: a kept trace.
        prompt: rendered, with thinking opened at its end.
        settings: the ones it was judged by.
        delimiters: what opens and closes thinking.

    """
    said = response(judged, settings, delimiters)
    if delimiters.open:
        opening = prompt[prompt.rfind(delimiters.open) :]
        said = said.removeprefix(opening) if said.startswith(opening) else said.removeprefix(delimiters.open)
    return {"prompt": prompt, "completion": said, **provenance(judged, settings)}


def provenance(judged: SelectedTrace, settings: StarSettings) -> Mapping[str, object]:
    """Columns that say where a row comes from; trainers ignore them."""
    trace = judged.trace
    value_P = trace.values
    return {
        "id": trace.trace.id,
        "group": trace.trace.group,
        "mrt_episodes": trace.num_episodes,
        "mrt_episodes_kept": judged.cut,
        "mrt_value": None if np.isnan(value_P[judged.cut]) else float(value_P[judged.cut]),
        "mrt_progress": None if np.isnan(judged.progress) else judged.progress,
        "mrt_answer": "own" if _own_ending(trace, settings) else "forced",
    }
