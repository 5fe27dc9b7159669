"""What a run of OpenRLHF's own main left behind, against the server and `core/credit.py`, by another road."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from mrt_reward.training.records import Lapse
from tests.openrlhf.cpu.run import answers_of
from tests.verl.checking import Row, expected, score_again
from tests.verl.faults import Asked

OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))
CONFIG = CreditConfig(epsilon=1e-9)
"""OpenRLHF's group_norm, and progress as the paper pays it."""


@dataclass(frozen=True)
class Batches:
    """How many batches a run trained on, and of what size."""

    num_steps: int
    prompts: int
    samples: int

    @property
    def size(self) -> int:
        return self.prompts * self.samples


def read_batch(path: Path, samples: int) -> list[Row]:
    """Rows of a dump; its advantages and returns are the same without whitening and penalties."""
    file = np.load(path)
    rows: list[Row] = []
    for j in range(sum(name.startswith("index/") for name in file.files)):
        column = {
            name: file[f"{name}/{j}"]
            for name in ("index", "sequences", "attention_mask", "action_mask", "advantages", "returns", "rewards")
        }
        for row, index in enumerate(column["index"].tolist()):
            ids = column["sequences"][row][column["attention_mask"][row] > 0].astype(int).tolist()
            # Place i of the mask is token i + 1 of the sequence.
            written = np.flatnonzero(column["action_mask"][row])
            start = int(written[0]) + 1
            assert written.tolist() == list(range(start - 1, len(ids) - 1))
            advantage = column["advantages"][row][written].astype(float)
            assert column["returns"][row][written] == pytest.approx(advantage)
            reward = np.array([column["rewards"].reshape(-1)[row]], float)
            rows.append(Row(str(index // samples), ids[:start], ids[start:], [1] * len(written), reward, advantage))
    return rows


def check_batches(
    dump: Path, folder: Path, wanted: Batches, lost: Mapping[Asked, Lapse] | None = None
) -> list[Counter[str]]:
    """Every batch that was trained on: advantages as core gives them, and no lost score a number.

    Returns:
        How many traces of each batch were lost, and how.

    """
    lost = lost or {}
    files = sorted(dump.glob("batch_*.npz"))
    assert len(files) == wanted.num_steps
    num_paid = 0
    counts: list[Counter[str]] = []
    trained: set[Asked] = set()
    for file in files:
        rows = read_batch(file, wanted.samples)
        assert len(rows) == wanted.size
        trained |= {row.asked for row in rows}
        scored = score_again(rows, answers_of(folder), OPTIONS)
        lapses = [lost.get(row.asked) for row in rows]
        counts.append(Counter(lapse.name.lower() for lapse in lapses if lapse is not None))
        kept = [trace if lapse is None else None for lapse, trace in zip(lapses, scored, strict=True)]
        for row, trace, paid in zip(rows, kept, expected(rows, kept, CONFIG), strict=True):
            assert trace is None or trace.status == "ok"
            assert row.advantage == pytest.approx(paid, abs=1e-5), (trace, row.advantage, paid)
            num_paid += int(np.any(paid != paid[0]))
    assert num_paid > wanted.size
    assert set(lost) <= trained
    return counts


def check_weights(dump: Path, saved: Path, num_steps: int) -> None:
    """The policy moved, and vLLM had the same weights in the end."""
    before, after = load_file(MODEL_DIR / "model.safetensors"), load_file(saved / "model.safetensors")
    assert set(before) <= set(after), "tied weights may be saved twice"
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(bool(torch.isfinite(weight.float()).all()) for weight in after.values())
    synced = [json.loads(line) for line in (dump / "synced.jsonl").read_text().splitlines()]
    last = {each["name"]: each["sum"] for each in synced}
    assert len(synced) == num_steps * len(last)
    assert set(last) == set(before)
    for name, total in last.items():
        assert total == pytest.approx(float(after[name].double().sum()))


def steps_of(printed: str) -> list[dict[str, Any]]:
    """Metrics of each step, as OpenRLHF prints them."""
    return [ast.literal_eval(found) for found in re.findall(r"Global step [0-9]+: (\{.*\})", printed)]


def check_metrics(metrics: Mapping[str, Any], size: int, failed_as: Mapping[str, int]) -> None:
    """What a step logged: it learnt, and these traces failed and no others."""
    assert np.isfinite(metrics["actor_grad_norm"])
    assert metrics["actor_grad_norm"] > 0
    start = "mrt/failed/"
    failed = {name.removeprefix(start): value for name, value in metrics.items() if name.startswith(start)}
    assert failed.pop("share") == sum(failed_as.values()) / size
    assert {name: value for name, value in failed.items() if value} == dict(failed_as)
    assert metrics["mrt/traces/scored"] == size - sum(failed_as.values())
    assert metrics["mrt/outcome/mean"] == pytest.approx(metrics["rollout/reward_mean"])
    assert {"mrt/progress/mean", "mrt/value/first", "mrt/regret", "mrt/prover/latency_s/mean"} <= set(metrics)
