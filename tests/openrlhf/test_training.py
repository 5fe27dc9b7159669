"""OpenRLHF's own main trains the bundled model on a CPU, with a real server, and each token is paid what core says."""

from __future__ import annotations

import ast
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mrt_reward.core.credit import CreditConfig
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from tests.openrlhf.cpu.run import answers_of, arguments, train, write_data
from tests.openrlhf.server import Server, free_port
from tests.verl.checking import Row, expected, score_again

OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))
NUM_STEPS, PROMPTS, SAMPLES = 3, 4, 4
CONFIG = CreditConfig(epsilon=1e-9)
"""OpenRLHF's group_norm, and progress as the paper pays it."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def read_batch(path: Path) -> list[Row]:
    """Rows of a dump; its advantages and returns are the same without whitening and penalties."""
    file = np.load(path)
    rows: list[Row] = []
    for place in range(sum(name.startswith("index/") for name in file.files)):
        column = {
            name: file[f"{name}/{place}"]
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
            rows.append(Row(str(index // SAMPLES), ids[:start], ids[start:], [1] * len(written), reward, advantage))
    return rows


def check_batches(dump: Path, folder: Path) -> None:
    """Every batch that was trained on: advantages as core gives them."""
    files = sorted(dump.glob("batch_*.npz"))
    assert len(files) == NUM_STEPS
    num_paid = 0
    for file in files:
        rows = read_batch(file)
        assert len(rows) == PROMPTS * SAMPLES
        scored = score_again(rows, answers_of(folder), OPTIONS)
        for row, trace, wanted in zip(rows, scored, expected(rows, scored, CONFIG), strict=True):
            assert trace.status == "ok", trace.error
            assert row.advantage == pytest.approx(wanted, abs=1e-5)
            num_paid += int(np.any(wanted != wanted[0]))
    assert num_paid > PROMPTS * SAMPLES


def check_weights(dump: Path, saved: Path) -> None:
    """The policy moved, and vLLM had the same weights in the end."""
    before, after = load_file(MODEL_DIR / "model.safetensors"), load_file(saved / "model.safetensors")
    assert set(before) <= set(after), "tied weights may be saved twice"
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(bool(torch.isfinite(weight.float()).all()) for weight in after.values())
    synced = [json.loads(line) for line in (dump / "synced.jsonl").read_text().splitlines()]
    last = {each["name"]: each["sum"] for each in synced}
    assert len(synced) == NUM_STEPS * len(last)
    assert set(last) == set(before)
    for name, total in last.items():
        assert total == pytest.approx(float(after[name].double().sum()))


@pytest.mark.slow
def test_each_episode_is_paid_and_a_restarted_server_is_waited_for(tmp_path: Path, server: Server) -> None:
    dump = tmp_path / "dump"
    dump.mkdir()
    data = write_data(tmp_path, NUM_STEPS * PROMPTS)
    server.wait()
    restarted = threading.Event()

    def restart() -> None:
        until = time.monotonic() + 800
        while not list(dump.glob("batch_*.npz")) and time.monotonic() < until:
            time.sleep(0.2)
        server.kill()
        server.start()
        restarted.set()

    watcher = threading.Thread(target=restart)
    watcher.start()
    given = [
        *arguments(data, tmp_path, prompts=PROMPTS, samples=SAMPLES),
        *("--eval.dataset", str(data), "--eval.steps", str(NUM_STEPS), "--eval.n_samples_per_prompt", "1"),
        *("--ckpt.best_metric_key", "none", "--mrt.url", server.url, "--mrt.segmenter=paragraphs"),
    ]
    status, printed = train(tmp_path, given, MRT_TEST_DUMP=str(dump))
    watcher.join()
    assert status == 0, printed[-5000:]
    assert restarted.is_set()
    check_batches(dump, tmp_path)
    check_weights(dump, tmp_path / "saved")
    logged = [ast.literal_eval(found) for found in re.findall(r"Global step [0-9]+: (\{.*\})", printed)]
    assert len(logged) == NUM_STEPS
    for each in logged:
        check_metrics(each)
    assert "'eval_default_pass1'" in printed
    # The server that was started again proved no more than the last two batches: nothing of the evaluation.
    assert 0 < scored_by(server) <= (NUM_STEPS - 1) * PROMPTS * SAMPLES


def check_metrics(metrics: dict[str, Any]) -> None:
    assert np.isfinite(metrics["actor_grad_norm"])
    assert metrics["actor_grad_norm"] > 0
    assert metrics["mrt/failed/share"] == 0
    assert metrics["mrt/traces/scored"] == PROMPTS * SAMPLES
    assert metrics["mrt/outcome/mean"] == pytest.approx(metrics["rollout/reward_mean"])
    assert {"mrt/progress/mean", "mrt/value/first", "mrt/regret", "mrt/prover/latency_s/mean"} <= set(metrics)


def scored_by(server: Server) -> int:
    """Traces that a server answered, by its own count."""
    text = httpx.get(f"{server.url}/metrics").text
    counts = re.findall(r"^mrt_reward_items_total\{.*?\} ([0-9.e+]+)$", text, re.MULTILINE)
    return int(sum(float(count) for count in counts))


def test_a_server_that_is_down_is_told_before_anything_starts(tmp_path: Path) -> None:
    data = write_data(tmp_path, 4)
    nowhere = f"http://127.0.0.1:{free_port()}"
    status, printed = train(tmp_path, [*arguments(data, tmp_path), "--mrt.url", nowhere])
    assert status == 1
    assert f"error: no progress server answers at --mrt.url={nowhere}" in printed
    assert "Started a local Ray instance" not in printed
