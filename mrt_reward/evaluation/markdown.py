"""report.md: the report as Markdown, for issues and terminals; of a chart, what it says."""

from __future__ import annotations

import re

from mrt_reward.evaluation.contents import Block, Contents, Heading, Notes
from mrt_reward.evaluation.panels import Panel
from mrt_reward.evaluation.tables import Cell, Table

# Brackets alone mean nothing: an interval is read in terminals as it is.
_ANYWHERE = re.compile(r"([\\`*_<>|~&]|\](?=[(\[:])|^\[(?=[ xX]\]))")
_AT_THE_START = re.compile(r"^(\d*)([#+=.)-])(?=[\s#=-]|$)")


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line."""
    return _AT_THE_START.sub(r"\1\\\2", _ANYWHERE.sub(r"\\\1", " ".join(text.split())))


def markdown(report: Contents) -> str:
    """The whole report."""
    parts = [
        f"# {plain(report.title)}",
        plain(f"{report.models}: {report.facts}"),
        *(f"**{plain(line)}**" for line in report.alerts),
        *map(plain, report.lead),
    ]
    for section in report.sections:
        blocks = [text for block in section.blocks if (text := _block(block))]
        if blocks:
            parts += [f"## {plain(section.title)}", *blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case str():
            return plain(block)
        case Heading(text):
            return f"### {plain(text)}"
        case Notes(lines):
            return "\n".join(f"- {plain(line)}" for line in lines)
        case Table():
            return _table(block)
        case Panel():
            return _panel(block)


def _table(table: Table) -> str:
    lines = [["", *map(plain, table.head)], ["---"] * (len(table.head) + 1)]
    lines += [[plain(row.title), *map(_cell, row.cells)] for row in table.rows]
    meanings = [f"- {plain(row.title)}: {plain(row.meaning)}" for row in table.rows if row.meaning]
    return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + ([""] if meanings else []) + meanings)


def _cell(cell: Cell) -> str:
    text = f"**{plain(cell.text)}**" if cell.verdict else plain(cell.text)
    # An interval holds numbers, brackets and `never`.
    return f"{text} {cell.interval} {cell.verdict if cell.verdict != 'neither' else ''}".strip()


def _panel(panel: Panel) -> str:
    if not panel.answers:
        return ""
    return "\n\n".join([f"### {plain(panel.title)}", *map(plain, panel.answers), plain(panel.caption)])
