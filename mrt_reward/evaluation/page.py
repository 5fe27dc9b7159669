"""report.html: one file that needs nothing else, neither a network nor a server.

A content security policy allows the page's own script, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import groupby

from mrt_reward.evaluation.browser import browser_json
from mrt_reward.evaluation.contents import Block, Contents, Heading, Notes
from mrt_reward.evaluation.panels import Panel
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.svg import inline_svg
from mrt_reward.evaluation.tables import Cell, Table, chart_table
from mrt_reward.version import __version__


def page(report: Contents, examples: Iterable[Result], *, num_traces: int, waste_threshold: float) -> str:
    """The whole page.

    Args:
        report: what it says.
        examples: traces to read, before its notes.
        num_traces: of which the examples were chosen.
        waste_threshold: of progress, below which an episode of an example is shown as waste.

    """
    traces, num_shown = browser_json(examples)
    sections = [(section.anchor, section.title, _blocks(section.blocks)) for section in report.sections]
    if num_shown:
        sections.insert(-1, ("traces", "Single traces", _browser(num_shown, num_traces, waste_threshold)))
    links = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(title)}</h2>{text}</section>' for anchor, title, text in sections
    )
    alerts = "".join(f'<p role="alert"><b>{escape(line)}</b></p>' for line in report.alerts)
    lead = "".join(f"<p>{escape(text)}</p>" for text in report.lead)
    style, script = _asset("page.css"), _asset("charts.js") + _asset("traces.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.models)}: accuracy against thinking budget</title><style>{style}</style></head><body>"
        '<a class="skip" href="#main">Skip to the report</a>'
        f"<header><h1>{escape(report.title)}</h1><p>{escape(report.models)}: {escape(report.facts)}</p>{alerts}"
        f'<div class="soft">{lead}</div><nav aria-label="sections"><ul>{links}</ul></nav></header>'
        f'<main id="main">{body}</main><footer>mrt-reward {escape(__version__)}</footer>'
        f'<script type="application/json" id="trace-data">{traces}</script><script>{script}</script></body></html>\n'
    )


def _asset(name: str) -> str:
    return (files("mrt_reward.evaluation") / "assets" / name).read_text(encoding="utf-8")


def _blocks(blocks: Iterable[Block]) -> str:
    """Blocks one below the other, panels in a row side by side."""
    parts: list[str] = []
    for kind, group in groupby(blocks, type):
        text = "".join(map(_block, group))
        parts.append(f'<div class="cards">{text}</div>' if kind is Panel else text)
    return "".join(parts)


def _block(block: Block) -> str:
    match block:
        case str():
            return f"<p>{escape(block)}</p>"
        case Heading(text):
            return f"<h3>{escape(text)}</h3>"
        case Notes(lines):
            return f'<ul class="notes">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'
        case Table():
            return _table(block)
        case Panel():
            return _card(block)


def _card(panel: Panel) -> str:
    answers = "".join(f'<p class="answer-line">{escape(line)}</p>' for line in panel.answers)
    numbers = f"<details><summary>Numbers</summary>{_table(chart_table(panel.chart))}</details>"
    label = escape(f"{panel.title}: left and right arrow keys read its points")
    return (
        f'<div class="card{" own" if panel.own else ""}"><h3>{escape(panel.title)}</h3>{answers}'
        f'<figure class="chart" tabindex="0" role="group" aria-label="{label}">{inline_svg(panel.chart)}'
        f"<figcaption>{escape(panel.caption)}</figcaption></figure>{numbers}</div>"
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head)
    body = "".join(
        f'<tr><th scope="row">{escape(row.title)}{_small(row.meaning)}</th>{"".join(map(_cell, row.cells))}</tr>'
        for row in table.rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead><tr><td></td>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.verdict else escape(cell.text)
    title = f' title="{escape(cell.rests_on)}"' if cell.rests_on else ""
    long = ' class="long"' if len(cell.text) > LONG_CELL else ""
    return f"<td{title}{long}>{text}{_small(cell.interval)}{_small(cell.verdict.replace('neither', ''))}</td>"


def _small(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


LONG_CELL = 40
"""Characters beyond which a cell may break into lines."""

ORDERS = {
    "problem": "by problem",
    "loss": "worst episode first",
    "gain": "most gained first",
    "length": "longest first",
}
"""Orders of the traces to read; the page's script knows the names."""


def _browser(num_shown: int, num_traces: int, waste_threshold: float) -> str:
    orders = "".join(f'<option value="{name}">{title}</option>' for name, title in ORDERS.items())
    return (
        f"<p>{num_shown:,} of {num_traces:,} traces, chosen by problem and not by content. Each episode has its "
        "progress and the values before and after it beside its text.</p>"
        '<div class="controls"><label>Model<select id="pick-model"><option value="">all</option></select></label>'
        f'<label>Order<select id="pick-order">{orders}</select></label>'
        '<label>Trace<select id="pick"></select></label><button id="previous" type="button">Previous</button>'
        '<button id="next" type="button">Next</button></div>'
        f'<div id="trace" data-waste="{waste_threshold:g}" aria-live="polite"></div>'
    )
