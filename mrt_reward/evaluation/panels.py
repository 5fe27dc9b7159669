"""The charts of a report: which curves of a summary stand where, and the sentence that each one answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from mrt_reward.evaluation.bootstrap import CurveSummary, Estimate
from mrt_reward.evaluation.charts import Axes, Chart, Mark, Series
from mrt_reward.evaluation.progress import NUM_QUARTERS
from mrt_reward.evaluation.summary import Difference, ModelSummary, Summary
from mrt_reward.evaluation.words import interval_of, written

X_TOKENS = "budget, in tokens (prompt, thinking, answer)"
THIRDS = ("hard", "medium", "easy")
QUARTERS = tuple(f"{number}. quarter" for number in range(1, NUM_QUARTERS + 1))


ENOUGH_PROBLEMS = 10
"""From which a bootstrap's interval is put into words; it is shown of fewer as well."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart with its words, which are plain text.

    Attributes:
        name: of its files.
        title: what it asks or shows.
        caption: how to read it.
        chart: its points.
        answers: what it says, a sentence for each model.
        own: whether it is one of MRT's own two questions.

    """

    name: str
    title: str
    caption: str
    chart: Chart
    answers: tuple[str, ...] = ()
    own: bool = False


def budget_panels(summary: Summary) -> list[Panel]:
    """Accuracy and regret against budget."""
    accuracy = Axes("accuracy against budget", X_TOKENS, "accuracy", log=True, percent=True)
    regret = Axes("normalised regret against budget", X_TOKENS, "normalised regret", log=True)
    return [
        Panel(
            "accuracy",
            "Accuracy against budget",
            "Thinking is cut and the answer forced, from the empty prefix to the full trace. Each curve ends where the "
            "model's longest trace does.",
            _lines(summary, "accuracy", accuracy),
            tuple(_sentence(model, summary) for model in summary.models),
        ),
        Panel(
            "regret",
            "Normalised regret",
            "1 minus the area under accuracy against budget, as a share of the budget; lower is better.",
            _lines(summary, "regret", regret),
        ),
    ]


def vote_panels(summary: Summary) -> list[Panel]:
    """`[maj@k]` against tokens, one chart for each model: the authors' study of chopped thinking."""
    panels: list[Panel] = []
    direct = {each.name: each.curves["votes"] for each in summary.direct}
    caption = "k answers are drawn at a cut and voted on; k answers cost k times the tokens of one."
    if direct:
        caption += " Direct: votes of 1, 2, 4, … answers without thinking, at their own tokens."
    for number, model in enumerate(summary.models, start=1):
        sizes = sorted(int(name[4:]) for name in model.curves if name.startswith("maj@"))
        curves = {"maj@1": model.curves.get("accuracy"), **{f"maj@{k}": model.curves[f"maj@{k}"] for k in sizes}}
        axes = Axes(f"majority votes of {model.name}", X_TOKENS, "accuracy", log=True, percent=True)
        if len(curves) + len(direct) > 1:
            title = f"More votes or more thinking? {model.name}"
            panels.append(Panel(f"votes-{number}", title, caption, Chart("lines", axes, _series(curves | direct))))
    return panels + [_against_direct(summary)] * bool(summary.gains)


def own_panels(summary: Summary) -> list[Panel]:
    """MRT's own two questions."""
    if not all(model.terciles for model in summary.models):
        return []
    return [_frugal(summary), _advancing(summary)]


def progress_panels(summary: Summary) -> list[Panel]:
    """Where progress is, what it is worth, and what lies beyond the end."""
    axes = Axes("progress of an episode", "progress of an episode", "share of episodes", percent=True, zero=True)
    bins = _series({model.name: model.curves.get("histogram") for model in summary.models})
    caption = f"Bins of 0.1. The table of models has the share whose |progress| is below {summary.waste_threshold:g}."
    return [
        Panel("progress", "Progress of single episodes", caption, Chart("bars", axes, bins)),
        *_restarts(summary),
        *_extended(summary),
    ]


SECTIONS: tuple[tuple[str, str, Callable[[Summary], list[Panel]]], ...] = (
    ("budget", "What a budget buys", budget_panels),
    ("questions", "MRT's own two questions", own_panels),
    ("votes", "Majority votes", vote_panels),
    ("progress", "Progress, restarts and what lies beyond", progress_panels),
)
"""Anchor, title and panels of each section with charts."""


def all_panels(summary: Summary) -> list[Panel]:
    """Every panel with something to draw, in the order of the report."""
    return [panel for _, _, panels in SECTIONS for panel in panels(summary) if panel.chart.drawn]


def _mark(x: float, estimate: Estimate) -> Mark:
    return Mark(x, estimate.value, estimate.low, estimate.high)


def _marks(curve: CurveSummary | None) -> list[Mark]:
    return [] if curve is None else [_mark(x, point) for x, point in zip(curve.x, curve.points, strict=True)]


def _series(curves: Mapping[str, CurveSummary | None]) -> tuple[Series, ...]:
    return tuple(Series(name, _marks(curve)) for name, curve in curves.items())


def _lines(summary: Summary, name: str, axes: Axes) -> Chart:
    """One curve of every model."""
    return Chart("lines", axes, _series({model.name: model.curves.get(name) for model in summary.models}))


def _sentence(model: ModelSummary, summary: Summary) -> str:
    at = f"{summary.budgets[-1]:g}"
    parts = [f"{model.name}: {_with_interval(model.metrics['final'])} at the end"]
    parts.append(f"{_with_interval(model.metrics['empty'])} without thinking")
    parts.append(f"normalised regret {_with_interval(model.metrics[f'regret@{at}'])} to {at} tokens")
    return ", ".join(parts) + "."


def _with_interval(estimate: Estimate) -> str:
    return f"{written(estimate.value, 'share')} {interval_of(estimate, 'share')}".strip()


def _tokens(estimate: Estimate) -> str:
    return f"{written(estimate.value, 'tokens')} {interval_of(estimate, 'tokens')}".strip()


def _against_direct(summary: Summary) -> Panel:
    """What thinking gains over votes on direct answers."""
    title = "Think, or vote without thinking?"
    series = _series({f"{each.second} minus {each.first}": each.curves.get("accuracy") for each in summary.gains})
    axes = Axes(title, X_TOKENS, "thinking minus direct votes", log=True, zero=True)
    caption = (
        "At matched tokens: accuracy of one answer after thinking, minus accuracy of as many direct votes as these buy."
    )
    answers = tuple(_gain_sentence(each, f"{summary.budgets[-1]:g}") for each in summary.gains)
    return Panel("direct", title, caption, Chart("lines", axes, series), answers)


def _gain_sentence(each: Difference, at: str) -> str:
    gained = each.metrics[f"accuracy@{at}"]
    return f"{each.second} minus {each.first}: {_with_interval(gained)} at {at} tokens, on {gained.problems} problems."


def _frugal(summary: Summary) -> Panel:
    axes = Axes(
        "thinking after the problem was solved, by difficulty", "problems, by how well they are solved",
        "share of thinking", categories=THIRDS, percent=True, zero=True,
    )  # fmt: skip
    series = tuple(
        Series(model.name, [_mark(x, model.terciles[third]["needless"]) for x, third in enumerate(THIRDS)])
        for model in summary.models
    )
    answers = _answers(
        summary.models,
        lambda thirds: (
            f"{_tokens(thirds['easy']['tokens'])} thinking tokens on an easy problem, "
            f"{_tokens(thirds['hard']['tokens'])} on a hard one; on easy ones "
            f"{_with_interval(thirds['easy']['needless'])} of the thinking came after it was solved."
        ),
    )
    caption = "Share of thinking tokens after the first prefix whose value is 0.9 or more; lower is more frugal."
    title = "Is it frugal on easy problems?"
    return Panel("frugal", title, caption, Chart("dots", axes, series), answers, own=True)


def _advancing(summary: Summary) -> Panel:
    axes = Axes(
        "progress by quarter of the thinking, on hard problems", "quarter of the thinking tokens",
        "progress", categories=QUARTERS, zero=True,
    )  # fmt: skip
    series = tuple(
        Series(model.name, [Mark(at.x - 1, at.y, at.low, at.high) for at in _marks(model.curves.get("hard:quarters"))])
        for model in summary.models
    )
    answers = _answers(
        summary.models,
        lambda thirds: (
            f"{_with_interval(thirds['hard']['late_gain'])} gained in the last quarter of the thinking on "
            f"hard problems: {_verdict(thirds['hard']['late_gain'])}."
        ),
    )
    caption = "On the hardest third of the problems: how much J rises in each quarter of a trace's thinking tokens."
    title = "Does it keep making progress on hard ones?"
    return Panel("advancing", title, caption, Chart("dots", axes, series), answers, own=True)


def _answers(
    models: Iterable[ModelSummary], sentence: Callable[[Mapping[str, Mapping[str, Estimate]]], str]
) -> tuple[str, ...]:
    return tuple(f"{model.name}: {sentence(model.terciles)}" for model in models)


def _verdict(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None or estimate.problems < ENOUGH_PROBLEMS:
        return "too few problems to tell"
    if estimate.low > 0:
        return "it still advances"
    return "it goes backwards" if estimate.high < 0 else "whether it advances cannot be told"


def _restarts(summary: Summary) -> list[Panel]:
    caption = (
        "At matched tokens: accuracy by going on, minus accuracy by starting over at half the budget. Above 0, the "
        "thinking so far was worth keeping."
    )
    kinds: Sequence[tuple[str, str, str]] = (
        ("running", "Would starting over have done as well?", ""),
        ("unsolved", "And where it is not there yet?", " Here of traces whose accuracy at half is below 0.5."),
    )
    return [
        Panel(kind, title, caption + rest, _lines(summary, f"{kind}:difference", Axes(
            title, "total tokens", "going on minus starting over", log=True, zero=True,
        )))
        for kind, title, rest in kinds
    ]  # fmt: skip


def _extended(summary: Summary) -> list[Panel]:
    title, caption = (
        "Beyond its own end",
        "Whenever it would stop, a word such as `Wait` makes it go on (budget forcing).",
    )
    accuracy = Axes(title, X_TOKENS, "accuracy", log=True, percent=True)
    regret = Axes(title, X_TOKENS, "normalised regret", log=True)
    return [
        Panel("extended_accuracy", title, caption, _lines(summary, "extended_accuracy", accuracy)),
        Panel("extended_regret", f"{title}: regret", caption, _lines(summary, "extended_regret", regret)),
    ]
