r"""Prefix-conditioned groups for MRT-RL as published: rows that start from a stale prefix, and stop or go on.

The paper (figure 6) cuts a trace of the old policy after a random number of episodes; of the rollouts from
there, half are made to stop thinking and answer, half go on, and their rewards are normalised together. So each prefix
gives two rows of one `mrt_group`, which the trainer samples equally often: one whose prompt closes the thinking
(`mrt_stop`), and one whose prompt leaves it open. `mrt_value_prefix` is the value of the prefix, the baseline of
`A = r - J(prefix)`.

A row that stops is given the terminator only up to its closing delimiter: the answer, box and all, is then the
policy's own text, which any reward function can read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from mrt_reward.evaluation.result import Result
from mrt_reward.options import Delimiters, Terminator
from mrt_reward.ranges import check_ranges, option

VERL_TEMPLATE = "{{ messages[0]['content'] }}"
"""Chat template that hands a row's text on as it is, for trainers that insist on templating it."""


@dataclass(frozen=True, slots=True)
class PrefixSettings:
    """Which prefixes are drawn.

    Draws of a trace depend on the seed and on the trace's id only.

    Raises:
        ValueError: a field is outside its range.

    """

    per_trace: Annotated[int, Ge(1)] = option(1, "Prefixes of a trace.")
    min_episodes: Annotated[int, Ge(0)] = option(0, "Shortest prefix; 0 is the bare problem.")
    min_value: Annotated[float, Ge(0), Le(1)] = option(0.0, "Leave out prefixes of lower value.")
    max_value: Annotated[float, Ge(0), Le(1)] = option(1.0, "Leave out prefixes of higher value.")
    seed: Annotated[int, Ge(0)] = option(0, "Seed of the draws.")

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.min_value > self.max_value:
            raise ValueError(f"min_value must be at most max_value, got {self.min_value} and {self.max_value}")


@dataclass(frozen=True, slots=True)
class Cut:
    """A prefix `z[:index]` that rows start from.

    Attributes:
        trace: of the old policy.
        index: number of episodes, 0 … K - 1: after the last one there is nothing to continue.
        value: J of the prefix.
        has_answer: whether there is a gold answer.

    """

    trace: Result
    index: int
    value: float
    has_answer: bool

    @property
    def group(self) -> str:
        """Which rows are normalised together."""
        return f"{self.trace.trace.id}@{self.index}"


def draw_cuts(traces: Sequence[Result], settings: PrefixSettings) -> list[Cut]:
    """Uniformly among each trace's prefixes whose values are known and in the range, without repeats."""
    cuts: list[Cut] = []
    for trace in traces:
        indices = [
            (j, value)
            for j in range(settings.min_episodes, trace.num_episodes)
            if (value := trace.value(j).value) is not None and settings.min_value <= value <= settings.max_value
        ]
        words = np.frombuffer(trace.trace.id.encode("utf-8", "surrogatepass"), np.uint8).tolist()
        rng = np.random.default_rng([settings.seed, *words])
        drawn = rng.choice(len(indices), min(settings.per_trace, len(indices)), replace=False) if indices else ()
        answered = bool(trace.trace.answer)
        cuts += [Cut(trace, *indices[index], answered) for index in sorted(int(index) for index in drawn)]
    return cuts


def stop_text(prefix: str, terminator: Terminator, delimiters: Delimiters) -> str:
    r"""What ends thinking after a prefix, and leaves the answer to the policy.

    The forced terminator up to its closing delimiter and the white space behind it; all of it where it closes
    nothing. After a prefix that ends within a line, an empty line comes first, as it does when prefixes are scored.
    """
    text = terminator.forced
    if delimiters.close and delimiters.close in text:
        head, close, tail = text.partition(delimiters.close)
        text = head + close + tail[: len(tail) - len(tail.lstrip())]
    return text if not prefix or prefix.endswith("\n") else f"\n\n{text}"


@dataclass(frozen=True, slots=True)
class PrefixRow:
    """What a policy starts from.

    Attributes:
        prompt: text: the problem's prompt, the prefix and, in a row that stops, its end.
        cut: where it comes from.
        stop: whether it must answer.

    """

    prompt: str
    cut: Cut
    stop: bool

    @property
    def columns(self) -> Mapping[str, object]:
        """What trainers read beside the prompt (`mrt_reward.training.prefix`), and where the row comes from."""
        return {
            "mrt_group": self.cut.group,
            "mrt_value_prefix": self.cut.value,
            "mrt_stop": self.stop,
            "mrt_trace": self.cut.trace.trace.id,
            "mrt_episodes": self.cut.index,
        }


def prefix_rows(cut: Cut, opened: str, terminator: Terminator, delimiters: Delimiters) -> tuple[PrefixRow, PrefixRow]:
    """The row that stops and the row that goes on.

    Args:
        cut: a prefix.
        opened: prompt of its problem, rendered, with thinking opened at its end.
        terminator: the one that the prefix's value was got with.
        delimiters: what opens and closes thinking.

    """
    prefix = cut.trace.prefix(cut.index)
    stopped = opened + prefix + stop_text(prefix, terminator, delimiters)
    return PrefixRow(stopped, cut, stop=True), PrefixRow(opened + prefix, cut, stop=False)


def text_record(row: PrefixRow) -> Mapping[str, object]:
    """For trainers that take a prompt as text.

    OpenRLHF hands its agents one column beside the prompt, so `label` is an object that holds what its adapter reads;
    TRL hands reward functions every column.
    """
    gold = _gold(row)
    return {"prompt": row.prompt, "answer": gold, "label": {"label": gold, **row.columns}, **row.columns}


def verl_record(row: PrefixRow, index: int, data_source: str) -> Mapping[str, object]:
    """For veRL, whose prompts are chats; with `VERL_TEMPLATE` as chat template, the text stays as it is.

    Args:
        row: to write.
        index: of the row in the file.
        data_source: picks veRL's reward function.

    """
    return {
        "data_source": data_source,
        "prompt": [{"role": "user", "content": row.prompt}],
        "reward_model": {"style": "rule", "ground_truth": _gold(row)},
        "extra_info": {"index": index},
        **row.columns,
    }


def _gold(row: PrefixRow) -> str:
    return row.cut.trace.trace.answer[0] if row.cut.trace.trace.answer else ""


def in_turn(rows: Iterable[tuple[PrefixRow, PrefixRow]]) -> Iterator[PrefixRow]:
    """Rows with both halves of a group next to each other, so that a batch of an even size holds whole groups."""
    for pair in rows:
        yield from pair


def summary(cuts: Sequence[Cut], traces: Sequence[Result]) -> Mapping[str, object]:
    """What was drawn, for people and for a JSON file."""
    values = [cut.value for cut in cuts]
    return {
        "traces": len(traces),
        "traces without such a prefix": len(traces) - len({id(cut.trace) for cut in cuts}),
        "prefixes": len(cuts),
        "episodes of a prefix, mean": float(np.mean([cut.index for cut in cuts])) if cuts else None,
        "value of a prefix, mean": float(np.mean(values)) if cuts else None,
        "prefixes without a gold answer": sum(not cut.has_answer for cut in cuts),
    }
