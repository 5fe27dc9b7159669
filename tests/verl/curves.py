"""Learning curves of the bundled model on a CPU: `python -m tests.verl.curves FOLDER`, in the veRL environment.

Two stock runs from the same seed, `reward.type=mrt` with alpha 1 and with alpha 0, which is GRPO with the same metrics
logged. Draws them into `adapters/mrt_verl/curves.svg`, and prints the table of the README.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.verl.cpu.run import ROOT, arguments, train, write_data
from tests.verl.test_training import Server

NUM_STEPS = 30
COLOURS = {"grpo": "#888888", "mrt": "#c0392b"}
PANELS = {
    "mrt/outcome/mean": "outcome accuracy",
    "response_length/mean": "tokens per response",
    "mrt/progress/waste_share": "waste share",
}
WIDTH, HEIGHT, MARGIN = 300, 200, 36

Curves = Mapping[str, Sequence[Mapping[str, float]]]


def run(folder: Path, alpha: float, url: str) -> list[dict[str, float]]:
    """One run; metrics of its steps."""
    folder.mkdir(parents=True, exist_ok=True)
    data = write_data(folder, 8 * NUM_STEPS, seed=3)
    given = [
        *arguments(data, steps=NUM_STEPS, prompts=8, samples=4),
        "reward.type=mrt",
        f"reward.mrt.url={url}",
        f"reward.mrt.alpha={alpha}",
        "reward.mrt.segmenter=paragraphs",
    ]
    done = train(folder, given, timeout_s=3600, MRT_TEST_SEED="3")
    (folder / "log.txt").write_text(done.stdout)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line)["data"] for line in lines]
    return [data for data in steps if "training/global_step" in data]


def smoothed(values: Sequence[float], width: int = 5) -> list[float]:
    """Mean of the last `width` steps."""
    return [float(np.mean(values[max(0, place - width + 1) : place + 1])) for place in range(len(values))]


def panel(curves: Curves, name: str, title: str, left: int) -> list[str]:
    """One chart: thin lines for the steps, thick ones for their running mean."""
    shown = {run_name: [float(step[name]) for step in steps] for run_name, steps in curves.items()}
    low, high = min(map(min, shown.values())), max(map(max, shown.values()))
    spread = (high - low) or 1.0

    def points(values: Sequence[float]) -> str:
        return " ".join(
            f"{left + MARGIN + place * (WIDTH - MARGIN - 12) / (len(values) - 1):.1f},"
            f"{HEIGHT - MARGIN - (value - low) / spread * (HEIGHT - 2 * MARGIN):.1f}"
            for place, value in enumerate(values)
        )

    bottom, top = HEIGHT - MARGIN, MARGIN
    parts = [
        f'<text x="{left + MARGIN}" y="20" font-weight="bold">{title}</text>',
        f'<path d="M{left + MARGIN},{top}V{bottom}H{left + WIDTH - 12}" fill="none" stroke="#444"/>',
        f'<text x="{left + MARGIN - 4}" y="{top + 4}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{left + MARGIN - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{left + WIDTH - 12}" y="{bottom + 16}" text-anchor="end">step {NUM_STEPS}</text>',
    ]
    for run_name, values in shown.items():
        line = f'fill="none" stroke="{COLOURS[run_name]}"'
        parts.append(f'<polyline points="{points(values)}" {line} stroke-width="1" opacity="0.35"/>')
        parts.append(f'<polyline points="{points(smoothed(values))}" {line} stroke-width="2.5"/>')
    return parts


def drawing(curves: Curves) -> str:
    """The three charts as SVG."""
    total = WIDTH * len(PANELS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {HEIGHT}"',
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{total}" height="{HEIGHT}" fill="white"/>',
    ]
    for place, (name, title) in enumerate(PANELS.items()):
        parts += panel(curves, name, title, place * WIDTH)
    for place, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<text x="{MARGIN + 60 * place}" y="{HEIGHT - 6}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def table(curves: Curves) -> str:
    """Means over the first and the last ten steps."""
    lines = ["| | steps 1-10 | | steps 21-30 | |", "| --- | --- | --- | --- | --- |", "| | grpo | mrt | grpo | mrt |"]
    for name, title in PANELS.items():
        cells = [
            f"{np.mean([step[name] for step in curves[run_name][part]]):.3f}"
            for part in (slice(0, 10), slice(-10, None))
            for run_name in ("grpo", "mrt")
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Both runs, one after the other, against one server."""
    server = Server(folder)
    server.start()
    try:
        server.wait()
        curves = {name: run(folder / name, alpha, server.url) for name, alpha in (("grpo", 0.0), ("mrt", 1.0))}
    finally:
        server.kill()
    (ROOT / "adapters" / "mrt_verl" / "curves.svg").write_text(drawing(curves), encoding="utf-8")
    print(table(curves))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
