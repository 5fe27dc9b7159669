"""Scored demo traces for a human reader: one trace episode by episode, and a table over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mrt_reward.core.progress import WasteOptions, nan_array, waste_mask
from mrt_reward.core.regret import mean_normalised_regret
from mrt_reward.mini.bundled import MINI
from mrt_reward.mini.policy import SampledTrace
from mrt_reward.mini.truth import revealed_values
from mrt_reward.types import Episode, ScoredTrace, Status

BAR_WIDTH = 20
ANSWER_TOKENS = 3
"""Of a forced answer of the bundled model: braces and a place."""


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What the demo sampled and scored.

    Attributes:
        groups: traces per problem.
        sampled: all traces, problem by problem.
        scored: the same, scored.
        seconds: wall clock of the scoring, HTTP included.

    """

    groups: Sequence[int]
    sampled: Sequence[SampledTrace]
    scored: Sequence[ScoredTrace]
    seconds: float

    def values(self, index: int) -> NDArray[np.float64]:
        """`value_P` of one trace; NaN where one is missing."""
        return nan_array(value.value for value in self.scored[index].values)

    def revealed(self, index: int) -> NDArray[np.float64]:
        """`value_P`: what each prefix of one trace has revealed."""
        text, episodes = self.sampled[index].completion, self.scored[index].episodes
        return revealed_values(self.sampled[index].problem, ["", *(text[: episode.char_end] for episode in episodes)])

    def progress(self, index: int) -> NDArray[np.float64]:
        """`progress_K` of one trace; NaN where one is missing."""
        return nan_array(episode.progress for episode in self.scored[index].episodes)


def value_bar(value: float) -> Text:
    """A value in [0, 1] as a bar."""
    filled = round(value * BAR_WIDTH)
    return Text("█" * filled, style="cyan") + Text("░" * (BAR_WIDTH - filled), style="dim")


def index_to_show(run: DemoRun) -> int:
    """The trace to show: right in the end, with both progress and waste, and neither short nor endless."""

    def interest(index: int) -> tuple[bool, int]:
        progress = run.progress(index)
        num_waste = int(waste_mask(progress, WasteOptions().waste_threshold).sum())
        mixed = run.scored[index].outcome == 1.0 and 0 < num_waste < len(progress)
        return mixed, -abs(len(progress) - 6)

    return max(range(len(run.sampled)), key=interest)


def show_story(console: Console, run: DemoRun) -> None:
    """Tell one trace, with the value bar after each episode and waste marked."""
    index = index_to_show(run)
    trace, scored = run.sampled[index], run.scored[index]
    console.print(f"\n[bold]Problem[/]  {trace.problem.text}", highlight=False)
    console.print(f"[bold]Answer[/]   {trace.problem.answer}\n", highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("episode", "what it says", "value J", "", "progress"):
        table.add_column(column, justify="right" if column in ("value J", "progress") else "left", overflow="fold")
    values = run.values(index)
    table.add_row("", Text("(nothing thought yet)", style="dim"), f"{values[0]:.2f}", value_bar(values[0]), "")
    for number, (episode, value) in enumerate(zip(scored.episodes, values[1:], strict=True)):
        said = " ".join(trace.completion[episode.char_start : episode.char_end].split())
        table.add_row(f"z[{number}]", said, f"{value:.2f}", value_bar(value), _earned(episode))
    console.print(table)


def _earned(episode: Episode) -> Text:
    if episode.progress is None:
        return Text("not scored", style="red")
    if abs(episode.progress) < WasteOptions().waste_threshold:
        # Zero has no sign.
        return Text(f"{episode.progress:+.2f} waste".replace("-0.00", "+0.00"), style="yellow")
    return Text(f"{episode.progress:+.2f}", style="green" if episode.progress > 0 else "red")


def show_summary(console: Console, run: DemoRun) -> None:
    """What all traces have in common, and how near the values are to the truth."""
    indices = [index for index, scored in enumerate(run.scored) if scored.status is Status.OK]
    failed = len(run.scored) - len(indices)
    threshold = WasteOptions().waste_threshold
    outcomes = [run.scored[index].outcome for index in indices]
    progress = np.concatenate([run.progress(index) for index in indices])
    errors = np.concatenate([np.abs(run.values(index) - run.revealed(index)) for index in indices])
    probes = sum(run.scored[index].usage.probes for index in indices)
    table = Table(title="\nAll traces", title_justify="left", show_header=False)
    table.add_row("traces scored", f"{len(indices)} of {len(run.scored)}" + (f", {failed} failed" if failed else ""))
    table.add_row("accuracy of the policy", f"{np.mean([outcome == 1.0 for outcome in outcomes]):.1%}")
    table.add_row(f"wasted episodes (|progress| < {threshold})", f"{waste_mask(progress, threshold).mean():.1%}")
    table.add_row("mean |value - revealed value|", f"{errors.mean():.3f}")
    table.add_row(f"normalised regret at {MINI.budget_tokens} tokens", f"{_regret(run, indices):.3f}")
    table.add_row("prefixes per second, over HTTP", f"{probes / run.seconds:,.0f}")
    console.print(table)
    console.print(
        "Revealed value: the chance of being right by what the prefix has shown so far, which this task makes known."
    )
    by_episode = Table(title="Mean value after j episodes", title_justify="left", box=None, pad_edge=False)
    for column in ("j", "J", "", "traces"):
        by_episode.add_column(column, justify="right" if column != "" else "left")
    longest = max(len(run.values(index)) for index in indices)
    for j in range(longest):
        there = [run.values(index)[j] for index in indices if len(run.values(index)) > j]
        by_episode.add_row(str(j), f"{np.mean(there):.2f}", value_bar(float(np.mean(there))), str(len(there)))
    console.print(by_episode)
    console.print(
        "Each line is of the traces that have j episodes, ever fewer: it may fall where no trace's own value does."
    )


def _regret(run: DemoRun, indices: Sequence[int]) -> float:
    """Mean normalised regret; x counts the completion's tokens of the prefix and the forced answer's."""
    problem_of = np.repeat(np.arange(len(run.groups)), run.groups)
    grouped: dict[int, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for index in indices:
        ends = [0, *(episode.token_end for episode in run.scored[index].episodes)]
        tokens = np.array(ends, np.float64) + ANSWER_TOKENS
        grouped.setdefault(int(problem_of[index]), []).append((tokens, run.values(index)))
    return float(mean_normalised_regret(list(grouped.values()), float(MINI.budget_tokens)))
