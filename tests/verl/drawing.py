"""Curves of several runs as one SVG picture, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 220, 44, 14, 34, 44
SMOOTHING = 5
STYLE = """<style>
.page{fill:#fff} text{fill:#222;font:12px sans-serif} .title{font-weight:bold} .axis{stroke:#999;fill:none}
.step{fill:none;stroke-width:1;opacity:.4} .mean{fill:none;stroke-width:2.5}
.run0{stroke:#6b7280} .run1{stroke:#c2410c} .run0.name{fill:#6b7280;stroke:none} .run1.name{fill:#c2410c;stroke:none}
@media (prefers-color-scheme:dark){.page{fill:#0d1117} text{fill:#e6edf3}
.run0{stroke:#9ca3af} .run1{stroke:#fb923c} .run0.name{fill:#9ca3af} .run1.name{fill:#fb923c}}
</style>"""

Series = Mapping[str, Sequence[float]]


def drawing(panels: Mapping[str, Series]) -> str:
    """One panel beside the other; each has a title and, for each run, one value per step."""
    width = WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}">',
        STYLE,
        f'<rect class="page" width="{width}" height="{HEIGHT}"/>',
    ]
    for index, (title, series) in enumerate(panels.items()):
        parts += [f'<g transform="translate({index * WIDTH})">', *_panel(title, series), "</g>"]
    for run, name in enumerate(next(iter(panels.values()))):
        parts.append(f'<text class="run{run} name" x="{LEFT + 70 * run}" y="{HEIGHT - 10}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def running_mean(values: Sequence[float], width: int = SMOOTHING) -> list[float]:
    """Mean of the last `width` values; of fewer at the start."""
    return [float(np.mean(values[max(0, index - width + 1) : index + 1])) for index in range(len(values))]


def _panel(title: str, series: Series) -> list[str]:
    low, high = min(map(min, series.values())), max(map(max, series.values()))
    spread = (high - low) or 1.0
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def points(values: Sequence[float]) -> str:
        across = (right - LEFT) / max(len(values) - 1, 1)
        return " ".join(
            f"{LEFT + index * across:.1f},{bottom - (value - low) / spread * (bottom - TOP):.1f}"
            for index, value in enumerate(values)
        )

    num_steps = max(map(len, series.values()))
    parts = [
        f'<text class="title" x="{LEFT}" y="18">{title}</text>',
        f'<path class="axis" d="M{LEFT},{TOP}V{bottom}H{right}"/>',
        f'<text x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{LEFT - 5}" y="{bottom}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">step {num_steps}</text>',
    ]
    for run, values in enumerate(series.values()):
        parts.append(f'<polyline class="run{run} step" points="{points(values)}"/>')
        parts.append(f'<polyline class="run{run} mean" points="{points(running_mean(values))}"/>')
    return parts
