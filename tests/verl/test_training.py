"""veRL's stock main trains the bundled model on a CPU, against a real server, and each token is paid what core says."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from safetensors.numpy import load_file

from mrt_reward.core.credit import CreditConfig, outcome_advantages
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from mrt_reward.provers.tokenizer import HFTokenizer
from tests.verl.checking import expected, read_batch, score_again
from tests.verl.cpu.run import answers_of, arguments, train, write_data
from tests.verl.server import Server, free_port

OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def steps_of(folder: Path) -> list[dict[str, Any]]:
    """Metrics of each training step that was logged so far."""
    file = folder / "metrics.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    logged = [json.loads(line)["data"] for line in lines if line.endswith("}")]
    return [data for data in logged if "training/global_step" in data]


def check_batches(dump: Path, num_batches: int, folder: Path, config: CreditConfig) -> None:
    """Every batch that was trained on: advantages as core gives them, masks as they were."""
    files = sorted(dump.glob("batch_*.npz"))
    assert len(files) == num_batches
    marked = 0
    for file in files:
        rows = read_batch(file)
        assert len(rows) == 16
        scored = score_again(rows, answers_of(folder), OPTIONS)
        for row, trace, wanted in zip(rows, scored, expected(rows, scored, config), strict=True):
            assert trace.status == "ok", trace.error
            assert row.mask == [1] * len(row.response)
            assert row.advantage == pytest.approx(wanted, abs=1e-5)
            marked += len(trace.episodes)
    assert marked > 16


def check_learning(steps: list[dict[str, Any]], num_steps: int) -> None:
    assert [data["training/global_step"] for data in steps] == list(range(1, num_steps + 1))
    for data in steps:
        assert math.isfinite(data["actor/grad_norm"])
        assert data["actor/grad_norm"] > 0
        assert data["mrt/failed/share"] == 0
        assert data["mrt/traces/scored"] == 16
        assert 0 <= data["mrt/outcome/mean"] <= 1
        assert {"mrt/progress/mean", "mrt/value/first", "mrt/regret", "mrt/prover/latency_s/mean"} <= set(data)


@pytest.mark.slow
def test_the_v1_trainer_pays_each_episode_and_survives_a_restarted_server(tmp_path: Path, server: Server) -> None:
    (tmp_path / "dump").mkdir()
    data = write_data(tmp_path, 64)
    server.wait()
    restarted = threading.Event()

    def restart() -> None:
        until = time.monotonic() + 400
        while not steps_of(tmp_path) and time.monotonic() < until:
            time.sleep(0.2)
        server.kill()
        server.start()
        restarted.set()

    watcher = threading.Thread(target=restart)
    watcher.start()
    given = [*arguments(data, steps=3), "reward.type=mrt", f"reward.mrt.url={server.url}"]
    done = train(tmp_path, [*given, "reward.mrt.segmenter=paragraphs"], MRT_TEST_DUMP=str(tmp_path / "dump"))
    watcher.join()
    assert done.returncode == 0, done.stdout[-5000:]
    assert restarted.is_set()
    check_learning(steps_of(tmp_path), 3)
    check_batches(tmp_path / "dump", 3, tmp_path, CreditConfig())


@pytest.mark.slow
def test_the_legacy_trainer_does_too_and_its_prover_follows(tmp_path: Path, server: Server) -> None:
    (tmp_path / "dump").mkdir()
    data = write_data(tmp_path, 64)
    server.wait()
    before = httpx.get(f"{server.url}/v1/prover").json()["version"]
    given = [
        *arguments(data, steps=2, v1=False),
        f"trainer.default_local_dir={tmp_path}/saved",
        "trainer.save_freq=2",
        "actor_rollout_ref.actor.checkpoint.save_contents=[model,hf_model]",
        "reward.type=mrt",
        f"reward.mrt.url={server.url}",
        "reward.mrt.segmenter=paragraphs",
        "reward.mrt.credit=to_go",
        "reward.mrt.baseline=group",
        "reward.mrt.follow_steps=2",
        f"reward.mrt.admin_url=http://127.0.0.1:{server.admin_port}",
    ]
    done = train(tmp_path, given, module="mrt_verl.main_ppo", MRT_TEST_DUMP=str(tmp_path / "dump"))
    assert done.returncode == 0, done.stdout[-5000:]
    steps = steps_of(tmp_path)
    check_learning(steps, 2)
    check_batches(tmp_path / "dump", 2, tmp_path, CreditConfig(credit="to_go", baseline="group"))
    assert steps[1]["mrt/following/refused"] == 0
    after = httpx.get(f"{server.url}/v1/prover").json()
    assert after["version"] != before
    saved = load_file(tmp_path / "saved/global_step_2/actor/huggingface/model.safetensors")
    assert saved
    assert all(np.isfinite(weights.astype(np.float32)).all() for weights in saved.values())
    assert after["model"].endswith("global_step_2/actor/huggingface")


@pytest.mark.slow
def test_rows_of_prefixes_are_normalised_together_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "dump").mkdir()
    data = write_data(tmp_path, 16, prefixes=True)
    given = [*arguments(data, steps=2), "reward.type=mrt", "reward.mrt.mode=prefix"]
    done = train(tmp_path, given, MRT_TEST_DUMP=str(tmp_path / "dump"))
    assert done.returncode == 0, done.stdout[-5000:]
    steps = steps_of(tmp_path)
    assert all(math.isfinite(data["actor/grad_norm"]) for data in steps)
    tokenizer = HFTokenizer(MODEL_DIR)
    problems = list(answers_of(tmp_path))
    for data, file in zip(steps, sorted((tmp_path / "dump").glob("batch_*.npz")), strict=True):
        rows = read_batch(file)
        places = [next(i for i, text in enumerate(problems) if text in tokenizer.decode(row.prompt)) for row in rows]
        closed = [
            [
                "</think>" in tokenizer.locate(np.array(row.response[: t + 1], np.int32))[0]
                for t in range(len(row.response))
            ]
            for row in rows
        ]
        # Every other problem's rows must stop; one that runs out of tokens first has no answer, and is left out.
        stops = [place % 2 == 0 for place in places]
        out = [stop and sum(seen) < 2 for stop, seen in zip(stops, closed, strict=True)]
        assert data["mrt/failed/unsupported"] == sum(out)
        assert data["mrt/prefix/stop/rows"] == 8 - sum(out)
        assert data["mrt/prefix/continue/rows"] == 8
        for pair in {place // 2 for place in places}:
            here = [row for row, place in enumerate(places) if place // 2 == pair]
            assert len(here) == 8
            kept = [row for row in here if not out[row]]
            paid = outcome_advantages(np.array([rows[row].reward[-1] for row in kept]), CreditConfig())
            for row, advantage in zip(kept, paid, strict=True):
                trained = np.array(closed[row]) if stops[row] else np.ones(len(closed[row]), bool)
                assert rows[row].advantage == pytest.approx(np.where(trained, advantage, 0.0), abs=1e-6)
            for row in set(here) - set(kept):
                assert not np.any(rows[row].advantage)


def test_a_server_that_is_down_is_told_before_anything_starts(tmp_path: Path) -> None:
    data = write_data(tmp_path, 8)
    nowhere = f"http://127.0.0.1:{free_port()}"
    done = train(tmp_path, [*arguments(data, steps=1), "reward.type=mrt", f"reward.mrt.url={nowhere}"])
    assert done.returncode != 0
    assert f"no progress server answers at reward.mrt.url={nowhere}" in done.stdout
    assert "Start one with `mrt-reward serve`" in done.stdout
    assert "Started a local Ray instance" not in done.stdout
    assert MODEL_DIR.is_dir()
