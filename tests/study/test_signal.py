"""Shares and alignments on gradients that are known, and gradients of a batch on the real loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mrt_reward.mini import MODEL_DIR
from tests.study.runs import RunSpec
from tests.study.signal import SUCCESS, Signal, measure, read, table, write
from tests.study.values import ValueSpec


def signal(arm: str, gradient_BN: list[list[float]], success_BN: list[list[float]]) -> Signal:
    of_arm, of_success = np.array(gradient_BN), np.array(success_BN)
    return Signal(arm, of_arm @ of_arm.T, of_arm @ of_success.T, of_success @ of_success.T)


def test_what_all_batches_share_is_distinguished_from_noise() -> None:
    success = [[1.0, 0.0]] * 3
    assert signal("same", [[2.0, 1.0]] * 3, success).share == pytest.approx(1.0)
    # Two batches that share (1, 0) and differ by (0, ±1): one of the two parts of each squared norm.
    half = signal("half", [[1.0, 1.0], [1.0, -1.0], [1.0, 0.0]], success)
    # Inner products of different batches: 0, 1, 1, so 2/3 of a pair; squared norms 2, 2, 1.
    assert half.share == pytest.approx((2 / 3) / (5 / 3))
    assert signal("opposite", [[1.0, 0.0], [-1.0, 0.0]], success[:2]).share == pytest.approx(-1.0)


def test_a_batch_is_compared_with_success_on_the_others() -> None:
    # Success of the second batch is (0, 2), of the first (2, 0): each is compared with the other's.
    crossed = signal("crossed", [[1.0, 0.0], [1.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]])
    assert crossed.alignment_B == pytest.approx([0.0, np.sqrt(0.5)])
    # The length of a gradient says nothing.
    longer = signal("longer", [[5.0, 0.0], [3.0, 3.0]], [[4.0, 0.0], [0.0, 9.0]])
    assert longer.alignment_B == pytest.approx(crossed.alignment_B)


def test_shares_are_without_bias() -> None:
    rng = np.random.default_rng(0)
    shared, dimensions = 0.5, 400
    gradient_BN = shared * np.eye(dimensions)[0] + rng.normal(size=(200, dimensions)) / np.sqrt(dimensions)
    found = Signal("noisy", gradient_BN @ gradient_BN.T, np.eye(200), np.eye(200))
    assert found.share == pytest.approx(0.25 / 1.25, abs=0.01)


def test_the_table_sets_each_arm_beside_outcome() -> None:
    success = [[1.0, 0.0], [1.0, 0.2]]
    report = table(
        [signal("outcome", [[1.0, 1.0], [1.0, -1.0]], success), signal("rate-16", [[1.0, 0.0]] * 2, success)]
    )
    assert [line.split("|")[1].strip() for line in report.splitlines()] == ["arm", "---", "rate-16", "outcome"]
    assert report.splitlines()[-1].endswith("| 1.0 |")


def test_gradients_of_a_batch_are_those_that_a_step_would_follow(tmp_path: Path) -> None:
    spec = RunSpec("outcome", "short", 0, 1, 1, ValueSpec("revealed"), MODEL_DIR, problems=2, group_size=2)
    specs = [replace(spec, arm=arm) for arm in ("outcome", "rate-16")]
    report: list[int] = []
    found = measure(specs, 2, tmp_path / "state", report.append)
    assert [each.arm for each in found] == ["outcome", "rate-16"]
    assert report == [1, 2]
    kept = torch.load(tmp_path / "state" / "0000.pt")
    assert set(kept) == {SUCCESS, "outcome", "rate-16"}
    assert kept["rate-16"].float().norm() > 0
    assert found[1].gram_BB[0, 0] == pytest.approx(float(kept["rate-16"].double().norm()) ** 2, rel=1e-9)
    # Said again: nothing is done again, and another batch can be added.
    stamp = (tmp_path / "state" / "0000.pt").stat().st_mtime_ns
    again = measure(specs, 2, tmp_path / "state")
    assert (tmp_path / "state" / "0000.pt").stat().st_mtime_ns == stamp
    assert again[1].success_BB.tolist() == found[1].success_BB.tolist()
    write(found, spec.record(), tmp_path / "signals" / "short.json")
    loaded = read(tmp_path / "signals" / "short.json")
    assert loaded[1].arm == "rate-16"
    np.testing.assert_allclose(loaded[1].gram_BB, found[1].gram_BB, rtol=1e-4)
