"""One run: trained step by step, evaluated now and then, written to a small JSONL file, and gone on with after a kill.

Lines are `{"run": …}`, then `{"eval": …}` and `{"step": …}` in order, and `{"done": …}` last. What a kill leaves behind
is a file without the last one, and beside it the loop's own state, which the next start goes on from.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adapters.custom_loop.train import LoopSettings
from mrt_reward.errors import ConfigError
from mrt_reward.mini.charts import REGIMES, Regime
from mrt_reward.training.settings import TrainingSettings, load_training_settings
from tests.study.arms import Arm, arm_of
from tests.study.evaluating import BETWEEN, FINAL, Evaluation, Size, evaluate
from tests.study.loop import StudyLoop
from tests.study.values import ValueSpec

_KEPT = {
    "mrt/outcome/mean": "outcome",
    "mrt/regret": "regret",
    "mrt/progress/waste_share": "waste",
    "mrt/episodes/mean": "episodes",
    "mrt/thinking/cut_off_share": "cut_off",
    "response_length/mean": "tokens",
    "grad_norm": "grad_norm",
    "seconds": "seconds",
}
_DIGITS = 4
LEARNING_RATE = 2e-4


@dataclass(frozen=True)
class RunSpec:
    """What one run is.

    Attributes:
        arm: by name.
        regime: by name.
        seed: of problems and sampling.
        num_steps: optimiser steps.
        every: steps between evaluations.
        values: where the values of prefixes come from.
        policy: model folder that is trained.
        problems: of a step.
        group_size: traces of each problem.
        learning_rate: of AdamW.
        warmup_steps: until the learning rate is reached.
        decay: whether it then falls in a line, to 0 after the last step.
        between: how much is evaluated in between.
        final: how much is evaluated at the end.

    """

    arm: str
    regime: str
    seed: int
    num_steps: int
    every: int
    values: ValueSpec
    policy: Path
    problems: int = 16
    group_size: int = 8
    learning_rate: float = LEARNING_RATE
    warmup_steps: int = 0
    decay: bool = False
    between: Size = BETWEEN
    final: Size = FINAL

    @property
    def name(self) -> str:
        """Of its files."""
        rate = "" if self.learning_rate == LEARNING_RATE else f"-lr{self.learning_rate:g}"
        warmup = f"-warm{self.warmup_steps}" if self.warmup_steps else ""
        decay = "-decay" if self.decay else ""
        return f"{self.regime}-{self.arm}-{self.values.name}{rate}{warmup}{decay}-s{self.seed}"

    def record(self) -> dict[str, Any]:
        """What identifies it, for its file."""
        return {
            "arm": self.arm,
            "regime": self.regime,
            "seed": self.seed,
            "policy": digest(self.policy / "model.safetensors"),
            "steps": self.num_steps,
            "every": self.every,
            "values": self.values.name,
            "problems": self.problems,
            "group_size": self.group_size,
            "learning_rate": self.learning_rate,
            "warmup_steps": self.warmup_steps,
            # Files of before it was a choice do not have it.
            **({"decay": True} if self.decay else {}),
            "between": [self.between.num_problems, self.between.num_traces],
            "final": [self.final.num_problems, self.final.num_traces],
        }


def digest(path: Path) -> str:
    """What tells one file from another, in 12 characters."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def is_done(path: Path) -> bool:
    """Whether a run's file is complete."""
    return path.is_file() and '"done"' in path.read_text(encoding="utf-8").rpartition("\n{")[2]


def new_loop(spec: RunSpec, folder: Path) -> StudyLoop:
    """The loop of a run, where its state is kept; gone on with where there is one."""
    arm, regime = arm_of(spec.arm), REGIMES[spec.regime]
    settings = LoopSettings(
        out=folder,
        resume=True,
        model=spec.policy,
        steps=spec.num_steps,
        problems=spec.problems,
        group_size=spec.group_size,
        max_tokens=regime.budget_tokens,
        learning_rate=spec.learning_rate,
        warmup_steps=spec.warmup_steps,
        decay=spec.decay,
        micro_rows=4 * spec.group_size,
        seed=spec.seed,
        mrt=settings_of(arm, regime, spec.values),
    )
    loop = StudyLoop(settings, arm, regime, spec.values)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "state.pt").exists():
        loop.load()
    return loop


def settings_of(arm: Arm, regime: Regime, values: ValueSpec) -> TrainingSettings:
    """Settings of an arm; where its credit has a budget, it is the regime's."""
    budget = {"anytime_budget": regime.budget_tokens} if arm.mrt.get("credit") == "anytime" else {}
    return load_training_settings({**arm.mrt, **budget, **values.asked()}, where="mrt")


async def run(spec: RunSpec, out: Path, report: Callable[[int], None] = lambda _: None) -> Path:
    """Carry a run to its end.

    Args:
        spec: what it is.
        out: folder of the runs' files.
        report: called with how many steps are done.

    Returns:
        Its file.

    Raises:
        ConfigError: the file is of a run with other settings.

    """
    path, folder = out / f"{spec.name}.jsonl", out / "state" / spec.name
    _check_same(path, spec)
    if is_done(path):
        report(spec.num_steps)
        return path
    loop = new_loop(spec, folder)
    try:
        lines = _kept_lines(path, spec, len(loop.log))
        while True:
            step = len(loop.log)
            if step % spec.every == 0 or step == spec.num_steps:
                size = spec.final if step == spec.num_steps else spec.between
                lines.append({"eval": _line(step, await evaluate(loop, size), whole=size is spec.final)})
                _write(path, lines)
                loop.save()
            report(step)
            if step == spec.num_steps:
                break
            await loop.step()
            lines.append({"step": _step(loop.log[-1])})
        _write(path, [*lines, {"done": True}])
        # The trained policy stays, for who wants to read its traces or measure at it.
        loop.export(folder / "policy")
        (folder / "state.pt").unlink()
    finally:
        await loop.close()
    return path


def _check_same(path: Path, spec: RunSpec) -> None:
    """A file that is there already, begun or done, is of this run."""
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            first = json.loads(next(lines, "null"))
        if first != {"run": spec.record()}:
            raise ConfigError(f"{path} is of a run with other settings: choose another folder, or remove it")


def _kept_lines(path: Path, spec: RunSpec, num_steps: int) -> list[dict[str, Any]]:
    """Lines of a file that was begun, up to the step that the saved state is at."""
    if not path.exists() or num_steps == 0:
        return [{"run": spec.record()}]
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        line
        for line in lines
        if "run" in line
        or ("step" in line and line["step"]["step"] <= num_steps)
        # The evaluation at the saved step is made again.
        or ("eval" in line and line["eval"]["step"] < num_steps)
    ]


def _step(entry: Mapping[str, float]) -> dict[str, float]:
    kept = {short: round(float(entry[name]), _DIGITS) for name, short in _KEPT.items() if name in entry}
    return {"step": int(entry["step"]), **kept}


def _line(step: int, evaluation: Evaluation, *, whole: bool) -> dict[str, Any]:
    """An evaluation for the file: means, and at the end each problem's own numbers."""
    known = {name: each[np.isfinite(each)] for name, each in evaluation.metrics.items()}
    report: dict[str, Any] = {
        "step": step,
        "mean": {name: round(float(each.mean()), _DIGITS) for name, each in known.items() if each.size},
        "curve": [round(float(each), _DIGITS) for each in evaluation.curve],
    }
    if whole:
        report["problems"] = {name: _numbers(each) for name, each in evaluation.metrics.items()}
        report["candidates"] = evaluation.num_candidates
    return report


def _numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [None if math.isnan(each) else round(float(each), _DIGITS) for each in values]


def _write(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(path)
