"""What a reader should know about a report's numbers, in sentences of plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mrt_reward.evaluation.provenance import without_folders
from mrt_reward.evaluation.summary import Summary
from mrt_reward.evaluation.tally import Caveats
from mrt_reward.evaluation.traces import ReadNotes

MAX_CHARS = 500
"""Of what others wrote, in one note."""


def quoted(text: str) -> str:
    """Text that others chose: on one line, of bounded length, without folders of a machine."""
    return without_folders(" ".join(text.split()))[:MAX_CHARS]


def worthless_lines(caveats: Mapping[str, Caveats]) -> list[str]:
    """A sentence for each model whose values mean nothing, which a reader must know before any number."""
    return [
        f"{model}: the values of {each.foreign} traces mean nothing, because the bundled model proved them and knows "
        "its own island problems only. Score them again with --model."
        for model, each in caveats.items()
        if each.foreign
    ]


def proved_by(caveats: Mapping[str, Caveats]) -> str:
    """Who proved."""
    provers = sorted({quoted(prover) for each in caveats.values() for prover in each.provers})
    return f"Values by {', '.join(provers) or 'a prover that the files do not name'}."


def note_lines(summary: Summary, notes: ReadNotes, caveats: Mapping[str, Caveats]) -> list[str]:
    """Thresholds, what was left out and why, and what is odd about the values of each model."""
    lines = [f"An episode earned nothing when |progress| < {summary.waste_threshold:g}."]
    if summary.weighted_votes:
        lines.append("Votes are weighted: each counts 2^(mean log-probability of its answer), as the authors' do.")
    lines.append(f"{notes.read} traces were read; of {len(notes.models)} models.")
    lines += [f"{each.name}: {_direct_line(caveats[each.name])}" for each in summary.direct]
    if notes.failed:
        codes = ", ".join(f"{count} {quoted(code)}" for code, count in notes.failed.most_common())
        lines.append(f"{sum(notes.failed.values())} traces or problems have no value and are in no number: {codes}.")
    for count, what in ((notes.cut, "lines that were cut in the middle"), (notes.malformed, "lines that are no result"),
                        (notes.duplicates, "repeated traces")):  # fmt: skip
        if count:
            lines.append(f"{count} {what} were skipped.")
    if notes.first_malformed:
        lines.append(f"First line that is no result: {quoted(notes.first_malformed)}")
    for model, each in caveats.items():
        lines += [f"{model}: {line}" for line in _caveat_lines(each)]
    return lines


def _direct_line(each: Caveats) -> str:
    counts = {
        "were cut off": each.cut_off,
        "thought all the same": each.thought,
        "say nothing that could be read": each.unparsed,
        "have no grade and no vote": each.ungraded,
    }
    parts = [f"{each.answers:,} answers", *(f"{count:,} {what}" for what, count in counts.items() if count)]
    return ", ".join(parts) + "."


def _caveat_lines(each: Caveats) -> Iterator[str]:
    if each.provers:
        yield f"values by {', '.join(quoted(prover) for prover in sorted(each.provers))}."
    if len(each.provers) > 1:
        yield "its values come from more than one prover, which are not comparable."
    if each.partial:
        yield f"{each.partial} traces lack a value and are in no curve."
    if each.without_episodes:
        yield f"{each.without_episodes} traces thought nothing."
    if each.lower_bounds:
        yield "its values are likelihoods of listed spellings, which can only understate."
    for warning, count in each.warnings.items():
        yield f"{count} traces: {quoted(warning)}"
