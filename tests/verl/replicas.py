"""Checks a run whose own replicas proved, or a pool of them, by the weights of each step that were written down."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mrt_verl.marks import decode
from safetensors.torch import load_file

from mrt_reward.core.progress import values_of
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ScoreOptions
from mrt_reward.training.records import number_of
from tests.verl.checking import Floats, Row, read_batch, score_again
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


def proved(folder: Path, options: ScoreOptions, num_steps: int, version: str = "{step}") -> Iterator[Proved]:
    """Every trace of every step; what a step says of versions, failures and the weights' own names is checked."""
    dump = folder / "dump"
    # A probe of a replica that slept, or took weights, would have written so.
    assert not [path.read_text() for path in dump.glob("wrong_*")]
    steps = steps_of(folder)
    check_learning(steps, num_steps)
    for step, (data, file) in enumerate(zip(steps, sorted(dump.glob("batch_*.npz")), strict=True)):
        _check_step(data)
        weights, rows = _weights(folder, step), read_batch(file)
        assert len(rows) == ROWS
        sides = [score_again(rows, answers_of(folder), options, each) for each in (weights, MODEL_DIR)]
        for row, trace, other in zip(rows, *sides, strict=True):
            paid, truth_P, first_P = decode(row.reward).scored, values_of(trace), values_of(other)
            assert paid is not None
            assert truth_P is not None
            assert first_P is not None
            assert paid.version == number_of(f"{MODEL_DIR.name}@{version.format(step=step)}")
            whole = len(paid.value_P) == len(truth_P)
            indices = np.arange(len(truth_P)) if whole else np.array([0, -1])
            yield Proved(paid.value_P[indices], truth_P[indices], first_P[indices], whole, step)


def _weights(folder: Path, step: int) -> Path:
    """The model of a step that was written down, with its tokenizer."""
    weights = folder / f"dump/weights_{step}"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(MODEL_DIR / name, weights)
    return weights


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


def check_pooled(folder: Path, options: ScoreOptions, num_steps: int) -> None:
    """See that all values are those of the first weights to 1e-4 at every step, while the policy's became others."""
    found = list(proved(folder, options, num_steps, version="pool"))
    for each in found:
        assert np.abs(each.paid_P - each.first_P).max() <= 1e-4, each
    assert sum(each.whole for each in found) > len(found) // 2
    for step in range(1, num_steps):
        # What the policy's own replica would have said.
        assert max(float(np.abs(each.truth_P - each.first_P).max()) for each in found if each.step == step) > 1e-3
    for before, after in pairwise(range(num_steps + 1)):
        old, new = (load_file(folder / f"dump/weights_{step}/model.safetensors") for step in (before, after))
        assert all(not torch.equal(new[name], tensor) for name, tensor in old.items())


def check_asynchronous(folder: Path, options: ScoreOptions, num_steps: int) -> None:
    """See that each value is of the weights that its version names, to 1e-4, and that some began with older ones."""
    dump = folder / "dump"
    assert not [path.read_text() for path in dump.glob("wrong_*")]
    steps = steps_of(folder)
    check_learning(steps, num_steps)
    named = {number_of(f"{MODEL_DIR.name}@{step}"): step for step in range(num_steps)}
    for step, (data, file) in enumerate(zip(steps, sorted(dump.glob("batch_*.npz")), strict=True)):
        check_failures(data, {})
        rows = read_batch(file)
        assert len(rows) == ROWS
        paid = [decode(row.reward).scored for row in rows]
        weights = [named[each.version] for each in paid if each is not None]
        assert len(weights) == ROWS
        assert set(weights) <= {step - 1, step}
        groups = {(row.group, at) for row, at in zip(rows, weights, strict=True)}
        num_mixed = sum(count > 1 for count in Counter(group for group, _ in groups).values())
        assert data["mrt/groups/mixed_versions"] == num_mixed
        for at in set(weights):
            _check_values([row for row, each in zip(rows, weights, strict=True) if each == at], folder, options, at)
    assert max(data["training/off_policy/trajectory_staleness_worst/max"] for data in steps) == 1


def _check_values(rows: Sequence[Row], folder: Path, options: ScoreOptions, step: int) -> None:
    """See that these were paid by the values that the weights of a step give them."""
    scored = score_again(rows, answers_of(folder), options, _weights(folder, step))
    for row, trace in zip(rows, scored, strict=True):
        paid, truth_P = decode(row.reward).scored, values_of(trace)
        assert paid is not None
        assert truth_P is not None
        whole = len(paid.value_P) == len(truth_P)
        assert np.abs(paid.value_P - truth_P[slice(None) if whole else [0, -1]]).max() <= 1e-4
