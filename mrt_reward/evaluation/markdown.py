"""report.md: the numbers as tables, for issues and terminals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.direct_summary import DirectSummary
from mrt_reward.evaluation.direct_votes import DirectCaveats
from mrt_reward.evaluation.summary import Summary
from mrt_reward.evaluation.tally import Caveats
from mrt_reward.evaluation.traces import ReadNotes
from mrt_reward.evaluation.words import interval_of, table_metrics, word_of, written

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&-])")


RESTS_ON = (
    "Means over problems, with 95 % intervals by bootstrap over problems in brackets. Tokens are the prover's: "
    "prompt, thinking, terminator and answer."
)


DIRECT_TOLD = (
    "Votes of k answers without thinking, at their own tokens: prompt and k answers, by the model's own tokenizer."
)
ADVANTAGE_TOLD = (
    "One answer after thinking minus as many direct votes as the same tokens buy, on the problems that both have, "
    "resampled together."
)


def plain(text: str) -> str:
    """Text that others chose, as Markdown that shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))[:500]


def markdown(summary: Summary, notes: ReadNotes, caveats: Mapping[str, Caveats]) -> str:
    """The whole report in Markdown."""
    worthless = [f"**{plain(line)}**" for line in worthless_lines(caveats)]
    parts = ["# Accuracy against thinking budget", *worthless, RESTS_ON, proved_by(caveats, plain), _models(summary)]
    if summary.differences:
        parts.append(_differences(summary))
    if summary.direct:
        parts.append(_direct(summary))
    if summary.models[0].terciles:
        parts.append(_terciles(summary))
    parts.append("## Notes\n\n" + "\n".join(f"- {line}" for line in note_lines(summary, notes, caveats, plain)))
    return "\n\n".join(parts) + "\n"


def worthless_lines(caveats: Mapping[str, Caveats]) -> list[str]:
    """A sentence for each model whose values mean nothing, which a reader must know before any number."""
    return [
        f"{model}: the values of {each.foreign} traces mean nothing, because the bundled model proved them and knows "
        "its own island problems only. Score them again with --model."
        for model, each in caveats.items()
        if each.foreign
    ]


def proved_by(caveats: Mapping[str, Caveats], quote: Callable[[str], str] = str) -> str:
    """Who proved."""
    provers = sorted({prover for each in caveats.values() for prover in each.provers})
    return f"Values by {', '.join(map(quote, provers)) or 'a prover that the files do not name'}."


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _cell(estimate: Estimate | None, metric: str, *, signed: bool = False) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    shape = word_of(metric).shape
    told = written(estimate.value, shape, signed=signed)
    return f"{told} {interval_of(estimate, shape, signed=signed)}".strip()


def _models(summary: Summary) -> str:
    header = ["", *(plain(model.name) for model in summary.models)]
    rows = [
        ["problems", *(str(model.problems) for model in summary.models)],
        ["traces", *(str(model.traces) for model in summary.models)],
    ]
    rows += [
        [word_of(metric).title, *(_cell(model.metrics.get(metric), metric) for model in summary.models)]
        for metric in table_metrics(summary)
    ]
    return "## Models\n\n" + _table(header, rows)


def _differences(summary: Summary) -> str:
    metrics = table_metrics(summary)
    header = ["", *(f"{plain(each.second)} minus {plain(each.first)}" for each in summary.differences)]
    rows = [
        [
            word_of(metric).title,
            *(_cell(each.metrics.get(metric), metric, signed=True) for each in summary.differences),
        ]
        for metric in metrics
    ]
    num = summary.differences[0].metrics["final"].problems
    told = f"On the problems that both have ({num} in the first column), resampled together."
    return f"## Paired differences\n\n{told}\n\n" + _table(header, rows)


def _direct(summary: Summary) -> str:
    """Votes without thinking, and what thinking gains over them."""
    header = ["", *(plain(each.name) for each in summary.direct)]
    parts = [
        f"## Answering without thinking\n\n{DIRECT_TOLD}",
        _table(header, [[row, *cells] for row, cells in direct_rows(summary)]),
    ]
    if summary.advantages:
        header = ["", *(f"{plain(each.model)} minus {plain(each.direct)}, direct" for each in summary.advantages)]
        rows = [
            [word_of(metric).title, *(_cell(each.metrics[metric], metric, signed=True) for each in summary.advantages)]
            for metric in summary.advantages[0].metrics
        ]
        parts += [ADVANTAGE_TOLD, _table(header, rows)]
    return "\n\n".join(parts)


def direct_rows(summary: Summary) -> list[tuple[str, list[str]]]:
    """A row for each size of a vote, a cell for each model that answers without thinking: accuracy and its tokens."""

    def cell(each: DirectSummary, size: int) -> str:
        if size not in each.sizes:
            return "-"
        place = each.sizes.index(size)
        return f"{_cell(each.votes.points[place], 'final')} at {written(each.votes.x[place], 'tokens')} tokens"

    sizes = sorted({size for each in summary.direct for size in each.sizes})
    return [
        ("problems", [str(each.problems) for each in summary.direct]),
        ("answers", [f"{each.caveats.answers:,}" for each in summary.direct]),
        *((f"maj@{size}", [cell(each, size) for each in summary.direct]) for size in sizes),
    ]


def _terciles(summary: Summary) -> str:
    metrics = ("final", "tokens", "episodes", "zero", "negative", "needless", "late_gain")
    parts: list[str] = []
    for model in summary.models:
        header = ["", *model.terciles]
        rows = [
            [word_of(metric).title, *(_cell(third.get(metric), metric) for third in model.terciles.values())]
            for metric in metrics
        ]
        parts.append(f"### {plain(model.name)}\n\n" + _table(header, rows))
    return "## By difficulty\n\nProblems in thirds by how well all models together solve them.\n\n" + "\n\n".join(parts)


def note_lines(
    summary: Summary, notes: ReadNotes, caveats: Mapping[str, Caveats], quote: Callable[[str], str] = str
) -> list[str]:
    """What a reader should know about the numbers, one sentence each; `quote` makes others' words safe."""
    told = [f"An episode earned nothing when |progress| < {summary.waste_threshold:g}."]
    if summary.weighted_votes:
        told.append("Votes are weighted: each counts 2^(mean log-probability of its answer), as the authors' do.")
    told += [f"{notes.read} traces were read; of {len(notes.models)} models."]
    told += [f"{quote(each.name)}, direct: {_direct_caveat(each.caveats)}" for each in summary.direct]
    if notes.failed:
        codes = ", ".join(f"{count} {quote(code)}" for code, count in notes.failed.most_common())
        told.append(f"{sum(notes.failed.values())} traces or problems have no value and are in no number: {codes}.")
    for count, what in ((notes.cut, "lines that were cut in the middle"), (notes.malformed, "lines that are no result"),
                        (notes.duplicates, "repeated traces")):  # fmt: skip
        if count:
            told.append(f"{count} {what} were skipped.")
    if notes.first_malformed:
        told.append(f"First line that is no result: {quote(notes.first_malformed)}")
    for model, each in caveats.items():
        told += [f"{quote(model)}: {line}" for line in _caveat_lines(each, quote)]
    return told


def _direct_caveat(each: DirectCaveats) -> str:
    told = [f"{each.answers:,} answers"]
    counts = {
        "were cut off": each.truncated,
        "thought all the same": each.thought,
        "say nothing that could be read": each.unparsed,
        "have no grade and no vote": each.ungraded,
    }
    for what, count in counts.items():
        if count:
            told.append(f"{count:,} {what}")
    return ", ".join(told) + "."


def _caveat_lines(each: Caveats, quote: Callable[[str], str]) -> list[str]:
    told: list[str] = []
    if each.provers:
        told.append(f"values by {', '.join(quote(prover) for prover in sorted(each.provers))}.")
    if len(each.provers) > 1:
        told.append("its values come from more than one prover, which are not comparable.")
    if each.partial:
        told.append(f"{each.partial} traces lack a value and are in no curve.")
    if each.without_episodes:
        told.append(f"{each.without_episodes} traces thought nothing.")
    if each.lower_bounds:
        told.append("its values are likelihoods of listed spellings, which can only understate.")
    told += [f"{count} traces: {quote(warning)}" for warning, count in each.warnings.items()]
    return told
