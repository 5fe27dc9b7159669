"""What a report says, in order, whatever writes it: `markdown` or `page`. All text is plain; writers make it safe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mrt_reward.evaluation.notes import note_lines, proved_by, quoted, worthless_lines
from mrt_reward.evaluation.panels import SECTIONS, Panel
from mrt_reward.evaluation.provenance import Invocation
from mrt_reward.evaluation.summary import ModelSummary, Summary
from mrt_reward.evaluation.tables import Cell, Row, Table, estimate_cell
from mrt_reward.evaluation.tally import Caveats
from mrt_reward.evaluation.traces import ReadNotes
from mrt_reward.evaluation.words import table_metrics, word_of, written

RESTS_ON = (
    "J is the chance that the prover, made to answer at some point of the thinking, is right. Progress of an episode "
    "is J after it minus J before it. Numbers are means over problems, with 95 % intervals by bootstrap over problems "
    "in brackets. Tokens are the prover's: prompt, thinking, terminator and answer."
)
BY_DIFFICULTY = ("final", "tokens", "episodes", "zero", "negative", "needless", "late_gain")
"""Metrics of the tables by difficulty."""


@dataclass(frozen=True, slots=True)
class Notes:
    """Sentences, one below the other."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """Above the part of a section that follows."""

    text: str


Block = str | Heading | Table | Panel | Notes


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks below a title; `anchor` is its address in the page."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """A whole report.

    Attributes:
        title: of it.
        models: their names.
        facts: how many problems and traces.
        alerts: what must be known before any number.
        lead: paragraphs before the first section.
        sections: in order.

    """

    title: str
    models: str
    facts: str
    alerts: tuple[str, ...]
    lead: tuple[str, ...]
    sections: tuple[Section, ...]


def contents(
    summary: Summary,
    notes: ReadNotes,
    caveats: Mapping[str, Caveats],
    facts: Mapping[str, Mapping[str, str]],
    made: Invocation | None = None,
) -> Contents:
    """The report.

    Args:
        summary: its numbers.
        notes: what was met in the files.
        caveats: by model.
        facts: by model, where the numbers come from.
        made: the call that makes it.

    """
    drawn = [
        Section(anchor, title, tuple(shown))
        for anchor, title, panels in SECTIONS
        if (shown := [panel for panel in panels(summary) if panel.chart.drawn])
    ]
    budget = [section for section in drawn if section.anchor == "budget"]
    sections = [
        *budget,
        Section("models", "Models", (_models(summary),)),
        *_differences(summary),
        *(section for section in drawn if section not in budget),
        *_direct(summary),
        *_by_difficulty(summary),
        _origin(facts, made),
        Section("notes", "Notes", (Notes(tuple(note_lines(summary, notes, caveats))),)),
    ]
    num_problems = max(model.problems for model in summary.models)
    return Contents(
        "What does thinking buy?",
        ", ".join(model.name for model in summary.models),
        f"{num_problems} problems, {notes.read:,} traces",
        tuple(worthless_lines(caveats)),
        (f"{proved_by(caveats)} {_made(facts, made)}", RESTS_ON),
        tuple(sections),
    )


def _row(metric: str, cells: Iterable[Cell], meaning: str = "") -> Row:
    return Row(word_of(metric).title, tuple(cells), meaning)


def _meanings(metrics: Sequence[str]) -> Iterator[str]:
    """What each metric means, said once for those that differ in their budget alone."""
    said: set[str] = set()
    for metric in metrics:
        meaning = word_of(metric).meaning
        yield "" if meaning in said else meaning
        said.add(meaning)


def _texts(*texts: str) -> tuple[Cell, ...]:
    return tuple(map(Cell, texts))


def _models(summary: Summary) -> Table:
    rows = [
        Row("Problems", _texts(*(str(model.problems) for model in summary.models))),
        Row("Traces", _texts(*(f"{model.traces:,}" for model in summary.models))),
    ]
    metrics = table_metrics(summary)
    rows += [
        _row(metric, (estimate_cell(model.metrics.get(metric), metric) for model in summary.models), meaning)
        for metric, meaning in zip(metrics, _meanings(metrics), strict=True)
    ]
    return Table(tuple(model.name for model in summary.models), tuple(rows))


def _differences(summary: Summary) -> list[Section]:
    if not summary.differences:
        return []
    head = tuple(f"{each.second} minus {each.first}" for each in summary.differences)
    rows = [
        _row(metric, (estimate_cell(each.metrics.get(metric), metric, signed=True) for each in summary.differences))
        for metric in table_metrics(summary)
    ]
    num = summary.differences[0].metrics["final"].problems
    text = (
        f"On the problems that both have ({num} in the first column), resampled together. Bold where the interval "
        "leaves zero out."
    )
    return [Section("differences", "Paired differences", (text, Table(head, tuple(rows))))]


def _direct(summary: Summary) -> list[Section]:
    """Votes without thinking, and what thinking gains over them."""
    if not summary.direct:
        return []
    blocks: list[Block] = [
        "Votes of k answers without thinking, at their own tokens: prompt and k answers, by the model's own tokenizer.",
        Table(tuple(each.name for each in summary.direct), tuple(_direct_rows(summary))),
    ]
    if summary.gains:
        metrics = list(dict.fromkeys(metric for each in summary.gains for metric in each.metrics))
        rows = [
            _row(metric, (estimate_cell(each.metrics.get(metric), metric, signed=True) for each in summary.gains))
            for metric in metrics
        ]
        blocks += [
            "One answer after thinking minus as many direct votes as the same tokens buy, on the problems that both "
            "have, resampled together.",
            Table(tuple(f"{each.second} minus {each.first}" for each in summary.gains), tuple(rows)),
        ]
    return [Section("direct", "Answering without thinking", tuple(blocks))]


def _direct_rows(summary: Summary) -> list[Row]:
    """Rows of the models that answer without thinking: each size of a vote with its tokens, then what budgets buy."""

    def cell(each: ModelSummary, index: int) -> Cell:
        votes = each.curves["votes"]
        if index >= len(votes.points):
            return Cell("-")
        accuracy = estimate_cell(votes.points[index], "final")
        return replace(accuracy, interval=f"{accuracy.interval} at {written(votes.x[index], 'tokens')} tokens".strip())

    num_sizes = max(len(each.curves["votes"].points) for each in summary.direct)
    return [
        Row("Problems", _texts(*(str(each.problems) for each in summary.direct))),
        Row("Answers", _texts(*(f"{each.traces:,}" for each in summary.direct))),
        *(
            Row(f"maj@{size}", tuple(cell(each, index) for each in summary.direct))
            for index, size in enumerate(summary.direct_sizes[:num_sizes])
        ),
        *(
            _row(metric, (estimate_cell(each.metrics.get(metric), metric) for each in summary.direct))
            for metric in dict.fromkeys(metric for each in summary.direct for metric in each.metrics)
        ),
    ]


def _by_difficulty(summary: Summary) -> list[Section]:
    if not summary.models[0].terciles:
        return []
    blocks: list[Block] = ["Problems in thirds by how well all models together solve them."]
    for model in summary.models:
        rows = [
            Row(
                word_of(metric).title,
                tuple(estimate_cell(third.get(metric), metric) for third in model.terciles.values()),
            )
            for metric in BY_DIFFICULTY
        ]
        blocks += [Heading(model.name), Table(tuple(model.terciles), tuple(rows))]
    return [Section("difficulty", "By difficulty", tuple(blocks))]


def _made(facts: Mapping[str, Mapping[str, str]], made: Invocation | None) -> str:
    data = ", ".join(dict.fromkeys(quoted(each["data"]) for each in facts.values() if "data" in each))
    return f"Data: {data}.{'' if made is None else f' Report of {made.date} UTC.'}"


def _origin(facts: Mapping[str, Mapping[str, str]], made: Invocation | None) -> Section:
    names = list(dict.fromkeys(fact for each in facts.values() for fact in each))
    rows = [
        Row(f"{name[:1].upper()}{name[1:]}", _texts(*(quoted(each.get(name, "-")) for each in facts.values())))
        for name in names
    ]
    blocks: list[Block] = [Table(tuple(facts), tuple(rows))]
    if made is not None:
        blocks.append(f"This report: {made}")
    return Section("origin", "Where the numbers come from", tuple(blocks))
