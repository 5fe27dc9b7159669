"""Writes the model card: every number in it comes from a measurement."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from mrt_reward.mini.bundled import MINI
from mrt_reward.mini.evaluation import MiniMeasurement, ValueReport
from mrt_reward.mini.tokenizer import MAX_POSITIONS, VOCAB_SIZE

CARD_NAME = "README.md"


@dataclass(frozen=True)
class Bar:
    """One requirement and what was measured.

    Attributes:
        name: what is required.
        wanted: the bar, in words.
        measured: the number, formatted.
        is_met: whether the bar is met.

    """

    name: str
    wanted: str
    measured: str
    is_met: bool


def _between(name: str, share: float, least_most: tuple[float, float]) -> Bar:
    """A share that has to lie in a range."""
    least, most = least_most
    return Bar(name, f"{100 * least:.0f} to {100 * most:.0f} %", f"{share:.1%}", least <= share <= most)


def _value_bars(report: ValueReport) -> list[Bar]:
    """Bars on the prover's values and on what the episodes reveal."""
    ratio = report.error / report.index_error
    return [
        _between("waste: episodes with revealed progress 0", report.waste, (0.25, 0.6)),
        Bar("forced answers right where J_revealed = 1", "at least 97 %", f"{report.known:.2%}", report.known >= 0.97),
        Bar("prefixes with 0.1 < J_revealed < 0.9", "at least 30 %", f"{report.between:.1%}", report.between >= 0.3),
        Bar("mean absolute error of the value on those", "at most 0.05", f"{report.error:.4f}", report.error <= 0.05),
        Bar("its ratio to the best predictor by episode index", "at most 0.25", f"{ratio:.3f}", ratio <= 0.25),
        Bar(
            "correlation of estimated and revealed progress",
            "at least 0.9",
            f"{report.correlation:.4f}",
            report.correlation >= 0.9,
        ),
    ]


def _episode_bars(median: float, least: int | None) -> list[Bar]:
    return (
        []
        if least is None
        else [Bar("median of episodes a trace", f"at least {least}", f"{median:.0f}", median >= least)]
    )


def bars(measured: MiniMeasurement) -> list[Bar]:
    """All requirements on a bundled model, values on natural episodes."""
    wanted = measured.bundled.bars
    size_mb = measured.folder_bytes / 1e6
    parameters_m = measured.num_parameters / 1e6
    mixed, gap = measured.mixed, measured.chance_gap
    return [
        _between("accuracy at the policy's budget", measured.accuracy, wanted.accuracy),
        Bar("groups of 8 with mixed outcomes", "at least 50 %", f"{mixed:.1%}", mixed >= 0.5),
        *_episode_bars(measured.episode_quantiles[1], wanted.episodes),
        Bar(
            "distance from chance 1/N at z[:0], worst N",
            f"at most {wanted.chance_gap}",
            f"{gap:.4f}",
            gap <= wanted.chance_gap,
        ),
        *_value_bars(measured.natural),
        Bar("parameters", "under 3 M", f"{parameters_m:.2f} M", parameters_m < 3.0),
        Bar("folder size", f"at most {wanted.folder_mb:g} MB", f"{size_mb:.2f} MB", size_mb <= wanted.folder_mb),
    ]


def table(title: str, rows: list[Bar]) -> Table:
    """The bars as a table for the terminal."""
    result = Table("what", "bar", "measured", "met", title=title)
    for row in rows:
        result.add_row(row.name, row.wanted, row.measured, "yes" if row.is_met else "NO")
    return result


def tables(measured: MiniMeasurement) -> list[Table]:
    """Both tables: all bars on natural episodes, and the values again on at most 8 episodes."""
    return [
        table(f"{measured.num_problems} fresh problems, natural episodes", bars(measured)),
        table("the same traces, merged to at most 8 episodes", _value_bars(measured.merged)),
    ]


def _markdown(rows: list[Bar]) -> str:
    lines = ["| what | bar | measured | met |", "|---|---|---|---|"]
    lines += [f"| {row.name} | {row.wanted} | {row.measured} | {'yes' if row.is_met else 'no'} |" for row in rows]
    return "\n".join(lines)


def _description(measured: MiniMeasurement) -> str:
    """What the model is, in lines of the usual width."""
    return textwrap.fill(
        f"A causal language model (Llama architecture, {measured.num_parameters / 1e6:.2f} M parameters, bfloat16) "
        f"that searches islands for an exit. {measured.bundled.problems} The model walks out one place per thinking "
        "episode and answers in `\\boxed{}` after `</think>`. It is sloppy on purpose: it repeats places, "
        "double-checks, muses, goes on after it is done and sometimes guesses. It is policy and prover of mrt-reward's "
        "own examples, tests and study, and of no use elsewhere.",
        width=120,
        break_on_hyphens=False,
    )


def card_text(measured: MiniMeasurement, training_note: str) -> str:
    """The model card, in Markdown with the front matter of the Hugging Face hub.

    Args:
        measured: from `measure`.
        training_note: one sentence on the run that made the weights.

    """
    low, middle, high = measured.episode_quantiles
    mean, least = measured.answered
    bundled = measured.bundled
    name = "" if bundled is MINI else f" --name {bundled.name}"
    caveat = f"\n{textwrap.fill(bundled.caveat, 120)}\n" if bundled.caveat else ""
    return f"""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---

# {bundled.name}: a tiny model that reasons, with known truth

{_description(measured)}

- Vocabulary: {VOCAB_SIZE} byte-level BPE entries; places 0 to 63 are one token each.
- Positions: {MAX_POSITIONS}; trained on short ones only.
- Delimiters `<think>`, `</think>`; ChatML turns; the chat template opens the thinking.
- Before any walk, the model was trained to answer at chance.

## Measured

Weights as shipped (rounded to bfloat16), computing in float32, temperature 1, budget {bundled.budget_tokens} tokens.
`mrt-reward mini evaluate{name} --problems {measured.num_problems}` prints these tables: fresh problems, 8 traces
each, values on the first trace of each.

{_markdown(bars(measured))}

Values on {measured.natural.num_values} prefixes and {measured.natural.num_episodes} episodes;
{low:.0f} / {middle:.0f} / {high:.0f} episodes a trace (5, 50, 95 %). The budget ended {measured.truncated:.1%} of the
traces. A forced answer is one of the candidates with probability {mean:.4f} on average, and {least:.4f} at
least.

The same traces merged to at most 8 episodes, as the segmenter `markers` does:

{_markdown(_value_bars(measured.merged))}
{caveat}
## Made by

`mrt-reward mini train{name}` (seeded; no download). {training_note}
"""


def write_card(folder: Path, measured: MiniMeasurement, training_note: str) -> None:
    """Write the card into a model folder, where the hub looks for it."""
    (folder / CARD_NAME).write_text(card_text(measured, training_note), encoding="utf-8")
