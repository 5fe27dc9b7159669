"""The measured attacks, as tables for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.attacks.filler import REPEATS, SENTENCE_TOKENS, Paid
from tests.attacks.measuring import Earned


def attack_table(measured: Mapping[str, Sequence[Earned]]) -> str:
    """A row for each attack.

    Args:
        measured: by the name of the prover and its estimator; all have the same attacks, the honest trace first.

    """
    head = ["thinking", *(f"{name}" for name in measured), "right"]
    lines = [_line(head), _line(["---"] * len(head))]
    columns = list(measured.values())
    for rows in zip(*columns, strict=True):
        cells = [_progress(row, column[0]) for row, column in zip(rows, columns, strict=True)]
        name = rows[0].attack.name
        right = " / ".join(dict.fromkeys(f"{row.right_N.mean():.2f}" for row in rows))
        lines.append(_line([f"**{name}**" if rows[0].attack.pays else name, *cells, right]))
    return "\n".join(lines) + "\n"


def _progress(row: Earned, honest: Earned) -> str:
    progress = row.progress
    half = (progress.high - progress.low) / 2
    share = progress.mean / honest.progress.mean
    return f"{progress.mean:+.3f} ± {half:.3f} ({100 * share:.0f} %, {row.net_N.mean():+.2f})"


def filler_table(paid: Mapping[str, Paid]) -> str:
    """A row for each setting."""
    lengths = [f"{SENTENCE_TOKENS * repeats}" for repeats in REPEATS]
    head = ["credit", *(f"{length} tokens" for length in lengths), "going on", "ending"]
    lines = [_line(head), _line(["---"] * len(head))]
    for name, row in paid.items():
        totals = [f"{total:+.1f}" for total in row.total]
        lines.append(_line([name, *totals, f"{row.going_on:+.3f}", f"{row.ending:+.3f}"]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
