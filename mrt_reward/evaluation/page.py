"""report.html: one file that needs nothing else, neither a network nor a server.

A content security policy allows the page's own script, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files

from mrt_reward.evaluation.bootstrap import Estimate
from mrt_reward.evaluation.browser import browser_json
from mrt_reward.evaluation.markdown import (
    ADVANTAGE_TOLD,
    DIRECT_TOLD,
    RESTS_ON,
    direct_rows,
    note_lines,
    proved_by,
    worthless_lines,
)
from mrt_reward.evaluation.panels import SECTIONS, Panel
from mrt_reward.evaluation.result import Result
from mrt_reward.evaluation.summary import Difference, Summary
from mrt_reward.evaluation.tally import Caveats
from mrt_reward.evaluation.traces import ReadNotes
from mrt_reward.evaluation.words import interval_of, table_metrics, word_of, written
from mrt_reward.version import __version__


def page(summary: Summary, notes: ReadNotes, caveats: Mapping[str, Caveats], examples: Iterable[Result]) -> str:
    """The whole page."""
    assets = files("mrt_reward.evaluation") / "assets"
    style, script = ((assets / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    traces, num_traces = browser_json(examples)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    sections = [("models", "Models", _models(summary))]
    if summary.differences:
        sections.append(("differences", "Paired differences", _differences(summary)))
    for anchor, title, panels in SECTIONS:
        drawn = [panel for panel in panels(summary) if panel.chart]
        if drawn:
            sections.append((anchor, title, f'<div class="cards">{"".join(map(_card, drawn))}</div>'))
    if summary.direct:
        sections.append(("direct", "Answering without thinking", _direct(summary)))
    first = next((place for place, section in enumerate(sections) if section[0] == "budget"), None)
    if first is not None:
        sections.insert(0, sections.pop(first))
    if num_traces:
        sections.append(("traces", "Single traces", _browser(num_traces, notes.read, summary.waste_threshold)))
    sections.append(("notes", "Notes", _notes(summary, notes, caveats)))
    links = "".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title, _ in sections)
    body = "".join(
        f'<section id="{anchor}"><h2>{escape(title)}</h2>{text}</section>' for anchor, title, text in sections
    )
    worthless = "".join(f'<p role="alert"><b>{escape(line)}</b></p>' for line in worthless_lines(caveats))
    names = ", ".join(model.name for model in summary.models)
    num_problems = max(model.problems for model in summary.models)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(names)}: accuracy against thinking budget</title><style>{style}</style></head><body>"
        '<a class="skip" href="#main">Skip to the report</a>'
        f"<header><h1>What does thinking buy?</h1><p>{escape(names)} · {num_problems} problems · "
        f"{notes.read:,} traces</p>"
        f"{worthless}<p>{escape(proved_by(caveats))}</p>"
        f'<p class="soft">{escape(RESTS_ON)}</p><nav aria-label="sections"><ul>{links}</ul></nav></header>'
        f'<main id="main">{body}</main><footer>mrt-reward {escape(__version__)}</footer>'
        f'<script type="application/json" id="trace-data">{traces}</script><script>{script}</script></body></html>\n'
    )


def _card(panel: Panel) -> str:
    answers = "".join(f'<p class="answer-line">{escape(line)}</p>' for line in panel.answers)
    numbers = f"<details><summary>Numbers</summary><div class='scroll'>{panel.numbers}</div></details>"
    return (
        f'<div class="card{" own" if panel.own else ""}"><h3>{escape(panel.title)}</h3>{answers}'
        f"<figure>{panel.chart}<figcaption>{escape(panel.told)}</figcaption></figure>{numbers}</div>"
    )


def _cell(estimate: Estimate | None, metric: str, *, signed: bool = False) -> str:
    if estimate is None or estimate.value is None:
        return "<td>-</td>"
    shape = word_of(metric).shape
    number = escape(written(estimate.value, shape, signed=signed))
    span = escape(interval_of(estimate, shape, signed=signed))
    rests = f"{estimate.problems} problems, {estimate.traces} traces"
    sure = signed and estimate.low is not None and estimate.high is not None and estimate.low * estimate.high > 0
    told = f"<b>{number}</b>" if sure else number
    return f'<td title="{rests}">{told}<small>{span}</small>{_better(estimate, metric) if sure else ""}</td>'


def _better(estimate: Estimate, metric: str) -> str:
    way = word_of(metric).better
    if not way or estimate.value is None:
        return ""
    return "<small>better</small>" if (estimate.value > 0) == (way == "up") else "<small>worse</small>"


def _table(head: Iterable[str], rows: Iterable[tuple[str, str, str]]) -> str:
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row" title="{escape(told)}">{escape(title)}</th>{cells}</tr>' for title, told, cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead><tr><th></th>{header}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _models(summary: Summary) -> str:
    rows = [
        ("Problems", "", "".join(f"<td>{model.problems}</td>" for model in summary.models)),
        ("Traces", "", "".join(f"<td>{model.traces:,}</td>" for model in summary.models)),
    ]
    for metric in table_metrics(summary):
        cells = "".join(_cell(model.metrics.get(metric), metric) for model in summary.models)
        rows.append((word_of(metric).title, word_of(metric).told, cells))
    return _table((model.name for model in summary.models), rows)


def _differences(summary: Summary) -> str:
    def row(metric: str) -> tuple[str, str, str]:
        cells = "".join(_cell(each.metrics.get(metric), metric, signed=True) for each in summary.differences)
        return word_of(metric).title, word_of(metric).told, cells

    told = "On the problems that both have, resampled together. Bold where the interval leaves zero out."
    return f"<p>{told}</p>" + _table(map(_named, summary.differences), map(row, table_metrics(summary)))


def _direct(summary: Summary) -> str:
    rows = [(name, "", "".join(f"<td>{escape(cell)}</td>" for cell in cells)) for name, cells in direct_rows(summary)]
    text = f"<p>{escape(DIRECT_TOLD)}</p>" + _table((each.name for each in summary.direct), rows)
    if not summary.advantages:
        return text
    rows = [
        (
            word_of(metric).title,
            word_of(metric).told,
            "".join(_cell(each.metrics[metric], metric, signed=True) for each in summary.advantages),
        )
        for metric in summary.advantages[0].metrics
    ]
    names = (f"{each.model} minus {each.direct}, direct" for each in summary.advantages)
    return f"{text}<p>{escape(ADVANTAGE_TOLD)}</p>{_table(names, rows)}"


def _named(difference: Difference) -> str:
    return f"{difference.second} minus {difference.first}"


ORDERS = {
    "problem": "by problem",
    "loss": "worst episode first",
    "gain": "most gained first",
    "length": "longest first",
}
"""Of the traces to read; the page's script knows the names."""


def _browser(num_shown: int, num_traces: int, waste: float) -> str:
    orders = "".join(f'<option value="{name}">{title}</option>' for name, title in ORDERS.items())
    return (
        f"<p>{num_shown:,} of {num_traces:,} traces, chosen by problem and not by content. Each episode has its "
        "progress and the values before and after it beside its text.</p>"
        '<div class="controls"><label>Model<select id="pick-model"><option value="">all</option></select></label>'
        f'<label>Order<select id="pick-order">{orders}</select></label>'
        '<label>Trace<select id="pick"></select></label><button id="previous" type="button">Previous</button>'
        '<button id="next" type="button">Next</button></div>'
        f'<div id="trace" data-waste="{waste:g}" aria-live="polite"></div>'
    )


def _notes(summary: Summary, notes: ReadNotes, caveats: Mapping[str, Caveats]) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in note_lines(summary, notes, caveats))
    return f'<ul class="notes">{lines}</ul>'
