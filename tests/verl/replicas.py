"""Checks a run whose own replicas proved, by the weights of each step that were written down beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrt_verl.marks import decode

from mrt_reward.core.progress import values_of
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ScoreOptions
from mrt_reward.training.records import number_of
from tests.verl.checking import Floats, read_batch, score_again
from tests.verl.cpu.run import answers_of
from tests.verl.steps import check_failures, check_learning, steps_of

ROWS = 16


@dataclass(frozen=True)
class Proved:
    """What a trace was paid by, and what it should be.

    Attributes:
        paid_P: values that came from the replicas; without the middle, where marks of short episodes are one.
        truth_P: those of the transformers engine with the weights of the step.
        first_P: and with the weights of the beginning.
        whole: whether none is left out.
        step: of the weights.

    """

    paid_P: Floats
    truth_P: Floats
    first_P: Floats
    whole: bool
    step: int


def proved(folder: Path, options: ScoreOptions, num_steps: int) -> Iterator[Proved]:
    """Every trace of every step; what a step says of versions, failures and the weights' own names is checked."""
    dump = folder / "dump"
    # A probe of a replica that slept, or took weights, would have written so.
    assert not [path.read_text() for path in dump.glob("wrong_*")]
    steps = steps_of(folder)
    check_learning(steps, num_steps)
    for step, (data, file) in enumerate(zip(steps, sorted(dump.glob("batch_*.npz")), strict=True)):
        _check_step(data)
        weights, rows = dump / f"weights_{step}", read_batch(file)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(MODEL_DIR / name, weights)
        assert len(rows) == ROWS
        sides = [score_again(rows, answers_of(folder), options, each) for each in (weights, MODEL_DIR)]
        for row, trace, other in zip(rows, *sides, strict=True):
            paid, truth_P, first_P = decode(row.reward).scored, values_of(trace), values_of(other)
            assert paid is not None
            assert truth_P is not None
            assert first_P is not None
            assert paid.version == number_of(f"{MODEL_DIR.name}@{step}")
            whole = len(paid.value_P) == len(truth_P)
            indices = np.arange(len(truth_P)) if whole else np.array([0, -1])
            yield Proved(paid.value_P[indices], truth_P[indices], first_P[indices], whole, step)


def _check_step(data: dict[str, Any]) -> None:
    check_failures(data, {})
    assert (data["mrt/prover/versions"], data["mrt/groups/mixed_versions"]) == (1, 0)
    assert 0 <= data["mrt/prover/overhead_s"] <= data["timing_s/gen"]


def check_proved(folder: Path, options: ScoreOptions, num_steps: int) -> list[Proved]:
    """See that all values are those of their step's weights to 1e-4, and that another step's would have been seen."""
    found = list(proved(folder, options, num_steps))
    for each in found:
        assert np.abs(each.paid_P - each.truth_P).max() <= 1e-4, each
    assert sum(each.whole for each in found) > 40
    assert max(float(np.abs(each.truth_P - each.first_P).max()) for each in found if each.step) > 1e-3
    return found
