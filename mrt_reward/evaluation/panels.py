"""The charts of report.html: which curves of a summary stand where, and the sentence that each one answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from mrt_reward.evaluation.bootstrap import CurveSummary, Estimate
from mrt_reward.evaluation.direct_summary import Advantage
from mrt_reward.evaluation.progress import NUM_QUARTERS
from mrt_reward.evaluation.summary import ModelSummary, Summary
from mrt_reward.evaluation.svg import NUM_STYLES, Axes, Mark, Series, bar_chart, dot_chart, line_chart
from mrt_reward.evaluation.words import interval_of, written

X_TOKENS = "budget, in tokens (prompt, thinking, answer)"
THIRDS = ("hard", "medium", "easy")
QUARTERS = tuple(f"{place}. quarter" for place in range(1, NUM_QUARTERS + 1))


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart with its words.

    Attributes:
        title: what it asks or shows.
        told: how to read it.
        answers: what it says, a sentence for each model; plain text.
        chart: SVG; empty where there is nothing to draw.
        numbers: the chart's numbers as an HTML table.
        own: whether it is one of MRT's own two questions.

    """

    title: str
    told: str
    answers: tuple[str, ...]
    chart: str
    numbers: str
    own: bool = False


def mark(x: float, estimate: Estimate) -> Mark:
    """A point of a chart."""
    return Mark(x, estimate.value, estimate.low, estimate.high)


def marks(curve: CurveSummary | None) -> list[Mark]:
    """A curve's points; none where there is no curve."""
    return [] if curve is None else [mark(x, point) for x, point in zip(curve.x, curve.points, strict=True)]


def _lines(summary: Summary, title: str, told: str, name: str, axes: Axes, *, answers: Sequence[str] = ()) -> Panel:
    """One curve of every model."""
    series = [
        Series(model.name, place % NUM_STYLES, marks(model.curves.get(name)))
        for place, model in enumerate(summary.models)
    ]
    return Panel(title, told, tuple(answers), line_chart(axes, series), numbers_table(series, axes))


def numbers_table(series: Sequence[Series], axes: Axes) -> str:
    """A chart's numbers for who cannot see it, or wants to copy them."""
    rows: list[str] = []
    for one in series:
        for point in one.marks:
            if point.y is None:
                continue
            at = axes.categories[round(point.x)] if axes.categories else f"{point.x:,.4g}"
            span = "" if point.low is None or point.high is None else f"{point.low:.4g} to {point.high:.4g}"
            cells = (one.name, at, f"{point.y:.4g}", span)
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", axes.x_label, axes.y_label, "95 % interval"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def budget_panels(summary: Summary) -> list[Panel]:
    """Accuracy and regret against budget."""
    reach = [_sentence(model, summary) for model in summary.models]
    accuracy = Axes("accuracy against budget", X_TOKENS, "accuracy", log=True, percent=True)
    regret = Axes("normalised regret against budget", X_TOKENS, "normalised regret", log=True)
    return [
        _lines(
            summary,
            "Accuracy against budget",
            "Thinking is cut and the answer forced, from the empty prefix to the full trace.",
            "accuracy",
            accuracy,
            answers=reach,
        ),
        _lines(
            summary,
            "Normalised regret",
            "1 minus the area under the curve on the left, as a share of the budget; lower is better.",
            "regret",
            regret,
        ),
    ]


def _sentence(model: ModelSummary, summary: Summary) -> str:
    at = f"{summary.budgets[-1]:g}"
    parts = [f"{model.name}: {_with_interval(model.metrics['final'], 'share')} at the end"]
    parts.append(f"{_with_interval(model.metrics['empty'], 'share')} without thinking")
    parts.append(f"normalised regret {_with_interval(model.metrics[f'regret@{at}'], 'share')} to {at} tokens")
    return ", ".join(parts) + "."


def _with_interval(estimate: Estimate, shape: str) -> str:
    kind = "tokens" if shape == "tokens" else "share"
    return f"{written(estimate.value, kind)} {interval_of(estimate, kind)}".strip()


def vote_panels(summary: Summary) -> list[Panel]:
    """`[maj@k]` against tokens, one chart for each model: the authors' study of chopped thinking."""
    panels: list[Panel] = []
    direct = {f"{each.name}, direct": each.votes for each in summary.direct}
    for model in summary.models:
        names = sorted((name for name in model.curves if name.startswith("maj@")), key=lambda name: int(name[4:]))
        curves = {"maj@1": model.curves.get("accuracy"), **{name: model.curves[name] for name in names}, **direct}
        series = [Series(name, place % NUM_STYLES, marks(curve)) for place, (name, curve) in enumerate(curves.items())]
        axes = Axes(f"majority votes of {model.name}", X_TOKENS, "accuracy", log=True, percent=True)
        told = "k answers are drawn at a cut and voted on; k answers cost k times the tokens of one."
        if direct:
            told += " Direct: votes of 1, 2, 4, … answers without thinking, at their own tokens."
        if len(curves) > 1:
            title = f"More votes or more thinking? {model.name}"
            panels.append(Panel(title, told, (), line_chart(axes, series), numbers_table(series, axes)))
    return panels + [_against_direct(summary)] * bool(summary.advantages)


def _against_direct(summary: Summary) -> Panel:
    """What thinking gains over votes on direct answers."""
    series = [
        Series(f"{each.model} minus {each.direct}, direct", place % NUM_STYLES, marks(each.curves.get("accuracy")))
        for place, each in enumerate(summary.advantages)
    ]
    title = "Think, or vote without thinking?"
    axes = Axes(title, X_TOKENS, "thinking minus direct votes", log=True, zero=True)
    told = (
        "At matched tokens: accuracy of one answer after thinking, minus accuracy of as many direct votes as these buy."
    )
    answers = [_advantage_sentence(each) for each in summary.advantages]
    return Panel(title, told, tuple(answers), line_chart(axes, series), numbers_table(series, axes))


def _advantage_sentence(each: Advantage) -> str:
    metric, gained = list(each.metrics.items())[-1]
    at = metric.partition("@")[2]
    return (
        f"{each.model} minus {each.direct}, direct: {_with_interval(gained, 'share')} at {at} tokens, on "
        f"{gained.problems} problems."
    )


def own_panels(summary: Summary) -> list[Panel]:
    """MRT's own two questions."""
    if not all(model.terciles for model in summary.models):
        return []
    return [_frugal(summary), _advancing(summary)]


def _frugal(summary: Summary) -> Panel:
    axes = Axes(
        "thinking after the problem was solved, by difficulty", "problems, by how well they are solved",
        "share of thinking", categories=THIRDS, percent=True, zero=True,
    )  # fmt: skip
    series = _by_third(summary, "needless")
    answers = [
        f"{model.name}: {_with_interval(model.terciles['easy']['tokens'], 'tokens')} thinking tokens on an easy "
        f"problem, {_with_interval(model.terciles['hard']['tokens'], 'tokens')} on a hard one; on easy ones "
        f"{_with_interval(model.terciles['easy']['needless'], 'share')} of the thinking came after it was solved."
        for model in summary.models
    ]
    told = "Share of thinking tokens after the first prefix whose value is 0.9 or more; lower is more frugal."
    chart = dot_chart(axes, series)
    return Panel("Is it frugal on easy problems?", told, tuple(answers), chart, numbers_table(series, axes), own=True)


def _advancing(summary: Summary) -> Panel:
    axes = Axes(
        "progress by quarter of the thinking, on hard problems", "quarter of the thinking tokens",
        "progress", categories=QUARTERS, zero=True,
    )  # fmt: skip
    series = [
        Series(
            model.name,
            place % NUM_STYLES,
            [Mark(point.x - 1, point.y, point.low, point.high) for point in marks(model.curves.get("hard:quarters"))],
        )
        for place, model in enumerate(summary.models)
    ]
    answers = [
        f"{model.name}: {_with_interval(model.terciles['hard']['late_gain'], 'share')} gained in the last quarter "
        f"of the thinking on hard problems: {_verdict(model.terciles['hard']['late_gain'])}."
        for model in summary.models
    ]
    told = "On the hardest third of the problems: how much J rises in each quarter of a trace's thinking tokens."
    chart = dot_chart(axes, series)
    title = "Does it keep making progress on hard ones?"
    return Panel(title, told, tuple(answers), chart, numbers_table(series, axes), own=True)


def _verdict(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return "too few problems to tell"
    if estimate.low > 0:
        return "it still advances"
    return "it goes backwards" if estimate.high < 0 else "no progress can be told from none"


def _by_third(summary: Summary, metric: str) -> list[Series]:
    return [
        Series(
            model.name,
            place % NUM_STYLES,
            [mark(x, model.terciles[third][metric]) for x, third in enumerate(THIRDS)],
        )
        for place, model in enumerate(summary.models)
    ]


def progress_panels(summary: Summary) -> list[Panel]:
    """Where progress is, and what it is worth."""
    histogram = Axes("progress of an episode", "progress of an episode", "share of episodes", percent=True, zero=True)
    bins = [
        Series(model.name, place % NUM_STYLES, marks(model.curves.get("histogram")))
        for place, model in enumerate(summary.models)
    ]
    told = f"Bins of 0.1. The table of models has the share whose |progress| is below {summary.waste_threshold:g}."
    return [
        Panel("Progress of single episodes", told, (), bar_chart(histogram, bins, 0.1), numbers_table(bins, histogram)),
        *_restarts(summary),
        *_extended(summary),
    ]


def _restarts(summary: Summary) -> list[Panel]:
    told = "At matched tokens: accuracy by going on, minus accuracy by starting over at half the budget. Above 0, the "
    names: tuple[tuple[str, str, str], ...] = (
        ("running", "Would starting over have done as well?", "thinking so far was worth keeping."),
        ("unsolved", "And where it is not there yet?", "same, among traces whose accuracy at half is below 0.5."),
    )
    return [
        _lines(
            summary,
            title,
            told + rest,
            f"{kind}:difference",
            Axes(title, "total tokens", "going on minus starting over", log=True, zero=True),
        )
        for kind, title, rest in names
    ]


def _extended(summary: Summary) -> list[Panel]:
    if not any("extended_accuracy" in model.curves for model in summary.models):
        return []
    title = "Beyond its own end"
    told = "Whenever it would stop, a word such as `Wait` makes it go on (budget forcing)."
    axes = Axes(title, X_TOKENS, "accuracy", log=True, percent=True)
    regret = Axes(title, X_TOKENS, "normalised regret", log=True)
    return [
        _lines(summary, title, told, "extended_accuracy", axes),
        _lines(summary, f"{title}: regret", told, "extended_regret", regret),
    ]


SECTIONS: tuple[tuple[str, str, Callable[[Summary], list[Panel]]], ...] = (
    ("budget", "Accuracy against budget", budget_panels),
    ("questions", "MRT's own two questions", own_panels),
    ("votes", "Majority votes", vote_panels),
    ("progress", "Progress, restarts and what lies beyond", progress_panels),
)
"""Anchor, title and panels of each section with charts."""
