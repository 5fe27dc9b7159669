"""A chart as inline SVG. Colours and type come from the page's style sheet, so that they follow light and dark.

A series is distinguished by colour, dash and marker, so that no reader depends on colour. All text is escaped here.
What there is to read at each x stands in `data-readings`, for the page's script to show by pointer and by arrow keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from mrt_reward.evaluation.charts import Chart, Mark

WIDTH, HEIGHT = 440, 290
LEFT, RIGHT, TOP, BOTTOM = 60, 12, 12, 46

DASHES = ("", "7 4", "2 4", "9 3 2 3", "14 5", "1 2")


@dataclass(frozen=True, slots=True)
class _Frame:
    """From the chart's units to SVG's, and what stands beside the axes."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def inline_svg(chart: Chart) -> str:
    """The chart and its legend. Empty if there is nothing to draw."""
    if not chart.drawn:
        return ""
    frame = _frame(chart)
    shape = {"lines": _line, "dots": _dots, "bars": _bars}[chart.kind]
    body = "".join(
        shape(chart, frame, style, [Mark(mark.x + shift, mark.y, mark.low, mark.high) for mark in one.marks])
        for (style, one), shift in zip(chart.drawn, chart.shifts(), strict=True)
    )
    readings = escape(json.dumps(_readings(chart, frame), separators=(",", ":")))
    return (
        f'<div class="plot"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(chart.axes.title)}" '
        f'data-top="{TOP}" data-bottom="{HEIGHT - BOTTOM}" data-readings="{readings}">'
        f"{_grid(chart, frame)}{body}</svg></div>{_legend(chart)}"
    )


def _readings(chart: Chart, frame: _Frame) -> list[dict[str, object]]:
    """At each x its position, what it is called, and the numbers of all series there, each with its style."""
    lines: dict[float, list[tuple[int, str]]] = {}
    for style, one in chart.drawn:
        for mark in one.marks:
            if mark.y is not None:
                span = (
                    ""
                    if mark.low is None or mark.high is None
                    else f" [{chart.written_y(mark.low)}, {chart.written_y(mark.high)}]"
                )
                name = f"{one.name}: " if len(chart.drawn) > 1 else ""
                lines.setdefault(mark.x, []).append((style, f"{name}{chart.written_y(mark.y)}{span}"))
    return [{"x": round(frame.x(x), 1), "at": chart.written_x(x), "lines": lines[x]} for x in sorted(lines)]


def _frame(chart: Chart) -> _Frame:
    axes = chart.axes
    marks = [mark for _, one in chart.drawn for mark in one.marks if mark.y is not None]
    ends = [end for mark in marks for end in (mark.y, mark.low, mark.high) if end is not None]
    low, high = _padded(min([*ends, *([0.0] if axes.zero else [])]), max(ends))
    y_ticks = [(tick, f"{tick:.0%}" if axes.percent else _short(tick)) for tick in _ticks(low, high, 5)]
    if axes.categories:
        first, last = -0.5, len(axes.categories) - 0.5
        x_ticks = list(enumerate(axes.categories))
    else:
        edge = chart.bar_width if chart.kind == "bars" else 0.0
        first, last = min(mark.x for mark in marks) - edge, max(mark.x for mark in marks) + edge
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
    return f"{number / 1000:g}k" if abs(number) >= 10_000 else f"{number:,g}"


def _grid(chart: Chart, frame: _Frame) -> str:
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
    if chart.axes.zero:
        parts.append(f'<line class="zero" x1="{LEFT}" x2="{right}" y1="{frame.y(0):.1f}" y2="{frame.y(0):.1f}"/>')
    middle, label = (LEFT + right) / 2, escape(chart.axes.x_label)
    parts += [
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<text class="label" x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>',
        f'<text class="label" transform="translate(14 {(TOP + bottom) / 2:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.axes.y_label)}</text>",
    ]
    return "".join(parts)


def _line(_: Chart, frame: _Frame, style: int, marks: Sequence[Mark]) -> str:
    known = [(frame.x(mark.x), frame.y(mark.y), mark) for mark in marks if mark.y is not None]
    spans = [(x, frame.y(mark.low), frame.y(mark.high)) for x, _, mark in known
             if mark.low is not None and mark.high is not None]  # fmt: skip
    upper = [f"{x:.1f},{high:.1f}" for x, _, high in spans]
    lower = [f"{x:.1f},{low:.1f}" for x, low, _ in reversed(spans)]
    band = f'<polygon class="band f{style}" points="{" ".join(upper + lower)}"/>' if len(spans) > 1 else ""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in known)
    line = f'<polyline class="line s{style}" stroke-dasharray="{DASHES[style]}" points="{points}"/>'
    every = max(1, len(known) // 6)
    return band + line + "".join(_marker(style, x, y) for x, y, _ in known[::every])


def _dots(_: Chart, frame: _Frame, style: int, marks: Sequence[Mark]) -> str:
    parts: list[str] = []
    for mark in marks:
        if mark.y is None:
            continue
        x = frame.x(mark.x)
        if mark.low is not None and mark.high is not None:
            low, high = frame.y(mark.low), frame.y(mark.high)
            parts.append(f'<line class="line s{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(_marker(style, x, frame.y(mark.y)))
    return "".join(parts)


def _bars(chart: Chart, frame: _Frame, style: int, marks: Sequence[Mark]) -> str:
    half, parts = chart.bar_width / 2, list[str]()
    for mark in marks:
        if mark.y is None:
            continue
        left, right, top, bottom = frame.x(mark.x - half), frame.x(mark.x + half), frame.y(mark.y), frame.y(0.0)
        parts.append(
            f'<rect class="f{style}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{max(bottom - top, 0.0):.1f}"/>'
        )
        if mark.low is not None and mark.high:
            x, low, high = (left + right) / 2, frame.y(mark.low), frame.y(mark.high)
            parts.append(f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
    return "".join(parts)


def _marker(style: int, x: float, y: float) -> str:
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>',
        f'<rect x="{x - 3.4:.1f}" y="{y - 3.4:.1f}" width="6.8" height="6.8"/>',
        f'<path d="M{x:.1f} {y - 4.6:.1f}l4.4 7.6h-8.8z"/>',
        f'<path d="M{x:.1f} {y - 4.8:.1f}l4.8 4.8-4.8 4.8-4.8-4.8z"/>',
        f'<path d="M{x:.1f} {y + 4.6:.1f}l4.4-7.6h-8.8z"/>',
        f'<path d="M{x - 4:.1f} {y - 1.3:.1f}h8v2.6h-8z"/>',
    )
    return f'<g class="dot f{style}">{shapes[style]}</g>'


def _legend(chart: Chart) -> str:
    if len(chart.drawn) < 2:
        return ""
    entries = [
        f'<li><svg viewBox="0 0 34 12" width="34" height="12" aria-hidden="true"><line class="line s{style}" '
        f'stroke-dasharray="{DASHES[style]}" x1="1" x2="33" y1="6" y2="6"/>{_marker(style, 17, 6)}</svg>'
        f"{escape(one.name)}</li>"
        for style, one in chart.drawn
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'
