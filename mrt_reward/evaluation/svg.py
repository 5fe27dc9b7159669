"""Charts as inline SVG: lines with bands, and dots with whiskers. Colours and type come from the page's style sheet.

A series is told apart by colour, dash and marker, so that no reader depends on colour. All text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 12, 46

DASHES = ("", "7 4", "2 4", "9 3 2 3", "14 5", "1 2")
NUM_STYLES = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """One point with its interval; None is not drawn."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour, dash and marker.

    Attributes:
        name: in the legend.
        style: 0 to `NUM_STYLES` - 1.
        marks: in the order of x.
        dash: of the line; -1 takes the style's own.

    """

    name: str
    style: int
    marks: Sequence[Mark]
    dash: int = -1


@dataclass(frozen=True, slots=True)
class Axes:
    """What a chart is drawn on.

    Attributes:
        title: of the whole chart, for screen readers.
        x_label: with its unit.
        y_label: likewise.
        log: whether x is logarithmic.
        y_range: lowest and highest y; None fits the marks.
        zero: whether to draw a line at 0.
        categories: names of x = 0, 1, …, instead of numbers.
        percent: whether y is written as a percentage.

    """

    title: str
    x_label: str
    y_label: str
    log: bool = False
    y_range: tuple[float, float] | None = None
    zero: bool = False
    categories: Sequence[str] = ()
    percent: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    x: Callable[[float], float]
    y: Callable[[float], float]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def line_chart(axes: Axes, series: Sequence[Series]) -> str:
    """Lines over a number, with bands for intervals. Empty if there is nothing to draw."""
    return _chart(axes, series, _line)


def dot_chart(axes: Axes, series: Sequence[Series]) -> str:
    """Dots with whiskers, side by side. Empty if there is nothing to draw."""
    return _chart(axes, _side_by_side(series), _dots)


def bar_chart(axes: Axes, series: Sequence[Series], width: float) -> str:
    """Bars of a histogram, `width` apart, side by side with whiskers. Empty if there is nothing to draw."""
    share = width * 0.8 / max(len(series), 1)

    def draw(one: Series, frame: _Frame) -> str:
        return _bars(one, frame, share)

    moved = [
        Series(one.name, one.style, [
            Mark(mark.x + (place - (len(series) - 1) / 2) * share, mark.y, mark.low, mark.high) for mark in one.marks
        ])
        for place, one in enumerate(series)
    ]  # fmt: skip
    return _chart(axes, moved, draw)


def _side_by_side(series: Sequence[Series]) -> list[Series]:
    """Series moved a little apart, so that whiskers do not lie on each other."""
    step = min(0.16, 0.7 / max(len(series), 1))
    return [
        Series(
            one.name,
            one.style,
            [Mark(mark.x + (place - (len(series) - 1) / 2) * step, mark.y, mark.low, mark.high) for mark in one.marks],
            one.dash,
        )
        for place, one in enumerate(series)
    ]


def _chart(axes: Axes, series: Sequence[Series], draw: Callable[[Series, _Frame], str]) -> str:
    drawn = [one for one in series if any(mark.y is not None for mark in one.marks)]
    if not drawn:
        return ""
    frame = _frame(axes, drawn)
    body = "".join(draw(one, frame) for one in drawn)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axes.title)}">'
        f"{_grid(axes, frame)}{body}</svg>{_legend(drawn)}"
    )


def _frame(axes: Axes, series: Sequence[Series]) -> _Frame:
    marks = [mark for one in series for mark in one.marks if mark.y is not None]
    ends = [end for mark in marks for end in (mark.y, mark.low, mark.high) if end is not None]
    low, high = axes.y_range or _padded(min([*ends, *([0.0] if axes.zero else [])]), max(ends))
    y_ticks = [(tick, f"{tick:.0%}" if axes.percent else _short(tick)) for tick in _ticks(low, high, 5)]
    if axes.categories:
        first, last = -0.5, len(axes.categories) - 0.5
        x_ticks = list(enumerate(axes.categories))
    else:
        first, last = min(mark.x for mark in marks), max(mark.x for mark in marks)
        x_ticks = [(tick, _short(tick)) for tick in (_octaves(first, last) if axes.log else _ticks(first, last, 6))]
    scale = math.log if axes.log else float
    start, span = scale(first), (scale(last) - scale(first)) or 1.0
    return _Frame(
        lambda value: LEFT + (scale(value) - start) / span * (WIDTH - LEFT - RIGHT),
        lambda value: HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM),
        x_ticks,
        y_ticks,
    )


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.06 or 0.05
    return low - pad if low else 0.0, high + pad


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high."""
    raw = (high - low) / most or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _octaves(low: float, high: float) -> list[float]:
    """Powers of two, or halves between them where there are few."""
    octaves = [2.0**power for power in range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)]
    if len(octaves) < 3:
        octaves = sorted({*octaves, *(1.5 * octave for octave in [*octaves, *(octave / 2 for octave in octaves)])})
        octaves = [octave for octave in octaves if low <= octave <= high]
    return octaves[:: max(1, math.ceil(len(octaves) / 7))]


def _short(number: float) -> str:
    if abs(number) >= 10_000:
        return f"{number / 1000:g}k"
    return f"{number:,g}"


def _grid(axes: Axes, frame: _Frame) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{frame.y(tick):.1f}" y2="{frame.y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{frame.y(tick) + 4:.1f}" text-anchor="end">{escape(label)}</text>'
        for tick, label in frame.y_ticks
    ]
    parts += [
        f'<text x="{frame.x(tick):.1f}" y="{bottom + 17}" text-anchor="middle">{escape(label)}</text>'
        for tick, label in frame.x_ticks
    ]
    if axes.zero:
        parts.append(f'<line class="zero" x1="{LEFT}" x2="{right}" y1="{frame.y(0):.1f}" y2="{frame.y(0):.1f}"/>')
    middle = (LEFT + right) / 2
    parts += [
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(axes.x_label)}</text>',
        f'<text class="label" transform="translate(14 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(axes.y_label)}</text>",
    ]
    return "".join(parts)


def _dash(one: Series) -> str:
    return DASHES[one.style if one.dash < 0 else one.dash]


def _line(one: Series, frame: _Frame) -> str:
    known = [mark for mark in one.marks if mark.y is not None]
    banded = [mark for mark in known if mark.low is not None and mark.high is not None]
    parts: list[str] = []
    if len(banded) > 1:
        upper = [f"{frame.x(mark.x):.1f},{frame.y(mark.high or 0.0):.1f}" for mark in banded]
        lower = [f"{frame.x(mark.x):.1f},{frame.y(mark.low or 0.0):.1f}" for mark in reversed(banded)]
        parts.append(f'<polygon class="band f{one.style}" points="{" ".join(upper + lower)}"/>')
    points = " ".join(f"{frame.x(mark.x):.1f},{frame.y(mark.y or 0.0):.1f}" for mark in known)
    parts.append(f'<polyline class="line s{one.style}" stroke-dasharray="{_dash(one)}" points="{points}"/>')
    every = max(1, len(known) // 6)
    parts += [_marker(one.style, frame.x(mark.x), frame.y(mark.y or 0.0), _told(one, mark)) for mark in known[::every]]
    return "".join(parts)


def _dots(one: Series, frame: _Frame) -> str:
    parts: list[str] = []
    for mark in one.marks:
        if mark.y is None:
            continue
        x = frame.x(mark.x)
        if mark.low is not None and mark.high is not None:
            low, high = frame.y(mark.low), frame.y(mark.high)
            parts.append(f'<line class="line s{one.style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(_marker(one.style, x, frame.y(mark.y), _told(one, mark)))
    return "".join(parts)


def _bars(one: Series, frame: _Frame, width: float) -> str:
    parts: list[str] = []
    for mark in one.marks:
        if mark.y is None:
            continue
        left, right = frame.x(mark.x - width / 2), frame.x(mark.x + width / 2)
        top, bottom = frame.y(mark.y), frame.y(0.0)
        parts.append(
            f'<rect class="f{one.style}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{max(bottom - top, 0.0):.1f}"><title>{escape(_told(one, mark))}</title></rect>'
        )
        if mark.low is not None and mark.high is not None and mark.high > 0:
            x = (left + right) / 2
            parts.append(
                f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(mark.low):.1f}" '
                f'y2="{frame.y(mark.high):.1f}"/>'
            )
    return "".join(parts)


def _told(one: Series, mark: Mark) -> str:
    span = "" if mark.low is None or mark.high is None else f" [{mark.low:.3g}, {mark.high:.3g}]"
    return f"{one.name}: {mark.y:.3g}{span}"


def _marker(style: int, x: float, y: float, told: str) -> str:
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>',
        f'<rect x="{x - 3.4:.1f}" y="{y - 3.4:.1f}" width="6.8" height="6.8"/>',
        f'<path d="M{x:.1f} {y - 4.6:.1f}l4.4 7.6h-8.8z"/>',
        f'<path d="M{x:.1f} {y - 4.8:.1f}l4.8 4.8-4.8 4.8-4.8-4.8z"/>',
        f'<path d="M{x:.1f} {y + 4.6:.1f}l4.4-7.6h-8.8z"/>',
        f'<path d="M{x - 4:.1f} {y - 1.3:.1f}h8v2.6h-8z"/>',
    )
    return f'<g class="dot f{style}"><title>{escape(told)}</title>{shapes[style]}</g>'


def _legend(series: Sequence[Series]) -> str:
    if len(series) < 2:
        return ""
    entries = [
        f'<li><svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true"><line class="line s{one.style}" '
        f'stroke-dasharray="{_dash(one)}" x1="1" x2="33" y1="6" y2="6"/>{_marker(one.style, 17, 6, one.name)}</svg>'
        f"{escape(one.name)}</li>"
        for one in series
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'
