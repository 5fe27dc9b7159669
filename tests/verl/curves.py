"""Learning curves of the bundled model on a CPU: `python -m tests.verl.curves FOLDER`, in the veRL environment.

Two runs of veRL's stock main from the same weights, data and seed: plain GRPO, where nothing of ours is switched on,
and `reward.type=mrt`. Both dump every batch that they train on, and both are measured afterwards from these dumps
alone, by the same prover in this process. Draws `adapters/mrt_verl/curves.svg`, and prints the README's table. A run
whose batches lie in FOLDER already is not repeated.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mrt_reward.core.progress import waste_mask
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from tests.serving import Server
from tests.verl.checking import read_batch, score_again
from tests.verl.cpu.run import ROOT, answers_of, arguments, train, write_data
from tests.verl.drawing import drawing

NUM_STEPS, NUM_PROMPTS, NUM_SAMPLES, SEED = 30, 8, 4, 3
WASTE_THRESHOLD = 0.02
TITLES = {
    "accuracy": "outcome accuracy",
    "tokens": "tokens per response",
    "waste": f"waste: progress below {WASTE_THRESHOLD}",
}
OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))


@dataclass(frozen=True)
class Step:
    """What one batch of a run was like: means over its responses, waste over its episodes."""

    accuracy: float
    tokens: float
    waste: float


def run(folder: Path, given: Sequence[str]) -> list[Step]:
    """One run, and what its batches say."""
    dump = folder / "dump"
    if len(list(dump.glob("*.npz"))) != NUM_STEPS:
        dump.mkdir(parents=True, exist_ok=True)
        data = write_data(folder, NUM_PROMPTS * NUM_STEPS, seed=SEED)
        basic = arguments(data, steps=NUM_STEPS, prompts=NUM_PROMPTS, samples=NUM_SAMPLES)
        train(folder, [*basic, *given], timeout_s=3600, MRT_TEST_SEED=str(SEED), MRT_TEST_DUMP=str(dump)).check()
    return [measured(dump / f"batch_{step}.npz", answers_of(folder)) for step in range(NUM_STEPS)]


def measured(batch: Path, answers: Mapping[str, str]) -> Step:
    """A dumped batch, scored again."""
    rows = read_batch(batch)
    scored = score_again(rows, answers, OPTIONS)
    progress = np.array([e.progress for trace in scored for e in trace.episodes if e.progress is not None])
    return Step(
        accuracy=float(np.mean([row.reward[-1] for row in rows])),
        tokens=float(np.mean([len(row.response) for row in rows])),
        waste=float(waste_mask(progress, WASTE_THRESHOLD).mean()),
    )


def table(curves: Mapping[str, Sequence[Step]]) -> str:
    """Means over the first and the last ten steps."""
    lines = ["| | steps 1 to 10 | steps 21 to 30 |", "| --- | --- | --- |"]
    for name, title in TITLES.items():
        for label, steps in curves.items():
            early, late = (np.mean([getattr(step, name) for step in part]) for part in (steps[:10], steps[-10:]))
            digits = 0 if name == "tokens" else 3
            lines.append(f"| {title}, {label} | {early:.{digits}f} | {late:.{digits}f} |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Both runs, one after the other."""
    curves = {"GRPO": run(folder / "grpo", ["algorithm.adv_estimator=grpo"])}
    server = Server(folder)
    server.start()
    try:
        server.wait()
        switch = ["reward.type=mrt", f"reward.mrt.url={server.url}", "reward.mrt.segmenter=paragraphs"]
        curves["MRT"] = run(folder / "mrt", switch)
    finally:
        server.kill()
    panels = {
        title: {label: [getattr(step, name) for step in steps] for label, steps in curves.items()}
        for name, title in TITLES.items()
    }
    (ROOT / "adapters" / "mrt_verl" / "curves.svg").write_text(drawing(panels), encoding="utf-8")
    print(table(curves))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
