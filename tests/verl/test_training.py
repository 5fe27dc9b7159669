"""veRL's stock main trains the bundled model on a CPU, against a real server, and each token is paid what core says."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from mrt_verl.marks import decode
from safetensors.torch import load_file

from mrt_reward.core.credit import outcome_advantages
from mrt_reward.core.credit_config import CreditConfig
from mrt_reward.mini import MODEL_DIR
from mrt_reward.options import ParagraphSegmenter, ScoreOptions
from mrt_reward.provers.checkpoints import weights_version
from mrt_reward.provers.tokenizer import HFTokenizer
from mrt_reward.training.records import Lapse
from tests.serving import Server
from tests.verl.checking import expected, read_batch, score_again
from tests.verl.cpu.run import Training, answers_of, arguments, saving, start, train, write_data
from tests.verl.faults import Asked, faulty
from tests.verl.replicas import check_asynchronous, check_pooled, check_proved
from tests.verl.steps import check_failures, check_learning, steps_of

OPTIONS = ScoreOptions(segmenter=ParagraphSegmenter("paragraphs"))
PATIENCE_S = 15
"""How long the run with faults waits for a score: longer than scoring takes, and the step waits as long."""

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


# Most of a run is processes that import veRL one after the other, so these two run beside the first test's own.
@pytest.fixture(scope="module")
def prefix_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """MRT-RL as published: rows that start from prefixes."""
    folder = tmp_path_factory.mktemp("prefix")
    (folder / "dump").mkdir()
    data = write_data(folder, 16, prefixes=True)
    given = [*arguments(data, steps=2), "reward.type=mrt", "reward.mrt.mode=prefix"]
    started = start(folder, given, MRT_TEST_DUMP=str(folder / "dump"))
    yield started
    started.stop()


@pytest.fixture(scope="module")
def run_without_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """A run whose server is not there."""
    folder = tmp_path_factory.mktemp("nowhere")
    data = write_data(folder, 8)
    started = start(folder, [*arguments(data, steps=1), "reward.type=mrt", f"reward.mrt.url={NOWHERE}"])
    yield started
    started.stop()


# The policy's own replica proves; it is killed once, while the second step is scored.
@pytest.fixture(scope="module")
def run_on_replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    folder = tmp_path_factory.mktemp("rollout")
    (folder / "dump").mkdir()
    data = write_data(folder, 64)
    given = [*arguments(data, steps=3), "reward.type=mrt", "reward.mrt.url=rollout", "reward.mrt.segmenter=paragraphs"]
    started = start(folder, given, MRT_TEST_DUMP=str(folder / "dump"), MRT_TEST_KILL_AT="1")
    yield started
    started.stop()


# A replica in a pool of its own proves, with the weights that the policy had at first; it runs beside the second test.
@pytest.fixture(scope="module")
def run_on_a_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    folder = tmp_path_factory.mktemp("pool")
    (folder / "dump").mkdir()
    data = write_data(folder, 64)
    given = [*arguments(data, steps=2, num_gpus=2), "reward.type=mrt", "reward.mrt.url=pool"]
    given += [f"reward.reward_model.{name}=1" for name in ("nnodes", "n_gpus_per_node")]
    given += ["reward.reward_model.rollout.tensor_model_parallel_size=1", "reward.mrt.segmenter=paragraphs"]
    started = start(folder, given, MRT_TEST_DUMP=str(folder / "dump"))
    yield started
    started.stop()


# Generation goes on while the policy is trained: it is stopped for new weights, and resumed with them.
@pytest.fixture(scope="module")
def run_asynchronously(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    folder = tmp_path_factory.mktemp("asynchronous")
    (folder / "dump").mkdir()
    data = write_data(folder, 64)
    given = [*arguments(data, steps=2), "trainer.v1.trainer_mode=colocate_async", "reward.type=mrt"]
    given += ["reward.mrt.url=rollout", "reward.mrt.segmenter=paragraphs"]
    started = start(folder, given, MRT_TEST_DUMP=str(folder / "dump"))
    yield started
    started.stop()


def check_batches(
    dump: Path, num_batches: int, folder: Path, config: CreditConfig, lost: Mapping[Asked, Lapse]
) -> list[Counter[str]]:
    """Every batch that was trained on: advantages as core gives them, masks as they were, no lost score a number.

    Returns:
        How many traces of each batch were lost, and how.

    """
    files = sorted(dump.glob("batch_*.npz"))
    assert len(files) == num_batches
    num_episodes = 0
    counts: list[Counter[str]] = []
    trained: set[Asked] = set()
    for file in files:
        rows = read_batch(file)
        assert len(rows) == 16
        trained |= {row.asked for row in rows}
        lapses = [lost.get(row.asked) for row in rows]
        counts.append(Counter(lapse.name.lower() for lapse in lapses if lapse is not None))
        scored = score_again(rows, answers_of(folder), OPTIONS)
        kept = [None if lapse else trace for lapse, trace in zip(lapses, scored, strict=True)]
        for row, lapse, trace, wanted in zip(rows, lapses, kept, expected(rows, kept, config), strict=True):
            assert row.mask == [1] * len(row.response)
            assert row.advantage == pytest.approx(wanted, abs=1e-5)
            if trace is None:
                assert decode(row.reward).lapse is lapse
                assert np.abs(row.reward[:-1]).max() < 1e-20
            else:
                assert trace.status == "ok", trace.error
                num_episodes += len(trace.episodes)
    assert num_episodes > 16
    assert set(lost) <= trained
    return counts


def check_weights(folder: Path) -> None:
    """Every tensor was trained, and all of its numbers are finite."""
    before, after = load_file(MODEL_DIR / "model.safetensors"), load_file(folder / "model.safetensors")
    assert set(after) == set(before)
    for name, weights in after.items():
        assert torch.isfinite(weights).all(), name
        # As the trainer had them at first: rounding alone is no training.
        assert not torch.equal(weights, before[name].to(weights.dtype)), name


@pytest.mark.slow
@pytest.mark.usefixtures("prefix_run", "run_without_server", "run_on_replicas")
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
    given = [*arguments(data, steps=3), *saving(tmp_path, 3), "reward.type=mrt", f"reward.mrt.url={server.url}"]
    done = train(tmp_path, [*given, "reward.mrt.segmenter=paragraphs"], MRT_TEST_DUMP=str(tmp_path / "dump"))
    watcher.join()
    done.check()
    assert restarted.is_set()
    steps = steps_of(tmp_path)
    check_learning(steps, 3)
    for step in steps:
        check_failures(step, {})
    check_batches(tmp_path / "dump", 3, tmp_path, CreditConfig(), {})
    check_weights(tmp_path / "saved/global_step_3/actor/huggingface")


@pytest.mark.slow
@pytest.mark.usefixtures("run_on_a_pool")
def test_the_legacy_trainer_does_too_with_faults_and_a_prover_that_follows(tmp_path: Path, server: Server) -> None:
    (tmp_path / "dump").mkdir()
    data = write_data(tmp_path, 64)
    server.wait()
    before = httpx.get(f"{server.url}/v1/prover").json()["version"]
    with faulty(server.url, hold_s=2 * PATIENCE_S, num_first=16) as (url, faults):
        given = [
            *arguments(data, steps=2, v1=False),
            *saving(tmp_path, 2),
            "reward.type=mrt",
            f"reward.mrt.url={url}",
            "reward.mrt.segmenter=paragraphs",
            "reward.mrt.credit=to_go",
            "reward.mrt.baseline=group",
            f"reward.mrt.timeout_s={PATIENCE_S}",
            "reward.mrt.follow_steps=2",
            f"reward.mrt.admin_url=http://127.0.0.1:{server.admin_port}",
        ]
        train(tmp_path, given, module="mrt_verl.main_ppo", MRT_TEST_DUMP=str(tmp_path / "dump")).check()
    steps = steps_of(tmp_path)
    check_learning(steps, 2)
    config = CreditConfig(credit="to_go", baseline="group")
    lost = check_batches(tmp_path / "dump", 2, tmp_path, config, faults.lost())
    # Of the first 16 traces five are late, and the next one is garbled; samples that are alike are one trace.
    assert faults.num_done() == {Lapse.TIMEOUT: 5, Lapse.MALFORMED: 1}
    assert lost[0]["timeout"] >= 1, lost
    assert lost[1][faults.garbled_as()] >= 1, lost
    for step, failed in zip(steps, lost, strict=True):
        check_failures(step, failed)
    # What the replica wrote with the new weights is what the server finds in the checkpoint.
    assert (steps[1]["mrt/following/refused"], steps[1]["mrt/following/vouched"]) == (0, 1)
    after = httpx.get(f"{server.url}/v1/prover").json()
    saved = tmp_path / "saved/global_step_2/actor/huggingface"
    assert after["version"] != before
    assert (after["model"], after["version"]) == (saved.name, weights_version(saved))
    check_weights(saved)


@pytest.mark.slow
@pytest.mark.usefixtures("run_asynchronously")
def test_rows_of_prefixes_are_normalised_together_without_a_server(prefix_run: Training) -> None:
    prefix_run.finished().check()
    folder = prefix_run.log.parent
    steps = steps_of(folder)
    assert all(math.isfinite(data["actor/grad_norm"]) for data in steps)
    tokenizer = HFTokenizer(MODEL_DIR)
    problems = list(answers_of(folder))
    for data, file in zip(steps, sorted((folder / "dump").glob("batch_*.npz")), strict=True):
        rows = read_batch(file)
        indices = [next(i for i, text in enumerate(problems) if text in tokenizer.decode(row.prompt)) for row in rows]
        closed = [
            [
                "</think>" in tokenizer.locate(np.array(row.response[: t + 1], np.int32))[0]
                for t in range(len(row.response))
            ]
            for row in rows
        ]
        # Every other problem's rows must stop; one that runs out of tokens first has no answer, and is left out.
        stops = [index % 2 == 0 for index in indices]
        out = [stop and sum(seen) < 2 for stop, seen in zip(stops, closed, strict=True)]
        assert data["mrt/failed/unsupported"] == sum(out)
        assert data["mrt/prefix/stop/rows"] == 8 - sum(out)
        assert data["mrt/prefix/continue/rows"] == 8
        for pair in {index // 2 for index in indices}:
            here = [row for row, index in enumerate(indices) if index // 2 == pair]
            assert len(here) == 8
            kept = [row for row in here if not out[row]]
            paid = outcome_advantages(np.array([rows[row].reward[-1] for row in kept]), CreditConfig())
            for row, advantage in zip(kept, paid, strict=True):
                trained = np.array(closed[row]) if stops[row] else np.ones(len(closed[row]), bool)
                assert rows[row].advantage == pytest.approx(np.where(trained, advantage, 0.0), abs=1e-6)
            for row in set(here) - set(kept):
                assert not np.any(rows[row].advantage)


@pytest.mark.slow
def test_a_server_that_is_down_is_reported_before_anything_starts(run_without_server: Training) -> None:
    output = run_without_server.finished().output
    assert run_without_server.process.returncode != 0
    assert f"no progress server answers at reward.mrt.url={NOWHERE}" in output
    assert "start one with `mrt-reward serve`" in output
    assert "Started a local Ray instance" not in output


@pytest.mark.slow
def test_the_policys_own_replicas_prove_with_the_weights_of_each_step(run_on_replicas: Training) -> None:
    run_on_replicas.finished().check()
    assert "[mrt] the policy's replicas (1) prove; their weights are those of each step" in run_on_replicas.output
    check_proved(run_on_replicas.log.parent, OPTIONS, 3)


@pytest.mark.slow
def test_a_pool_of_its_own_proves_with_the_first_weights_at_every_step(run_on_a_pool: Training) -> None:
    run_on_a_pool.finished().check()
    assert f"[mrt] veRL starts {MODEL_DIR} in a pool of its own, to prove" in run_on_a_pool.output
    assert "[mrt] the pool's replicas (1) prove; their weights are those it was started with" in run_on_a_pool.output
    check_pooled(run_on_a_pool.log.parent, OPTIONS, 2)


@pytest.mark.slow
def test_replicas_that_go_on_generating_prove_each_trace_with_the_weights_that_its_version_names(
    run_asynchronously: Training,
) -> None:
    run_asynchronously.finished().check()
    check_asynchronous(run_asynchronously.log.parent, OPTIONS, 2)
