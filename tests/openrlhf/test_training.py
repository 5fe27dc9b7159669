"""OpenRLHF's own main trains the bundled model on a CPU, with a real server, and each token is paid what core says."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from mrt_reward.training.records import Lapse
from tests.openrlhf.checking import check_batches, check_metrics, check_weights, steps_of
from tests.openrlhf.cpu.run import arguments, train, write_data
from tests.openrlhf.whole_run import BATCHES, WholeRun
from tests.serving import free_port


@pytest.mark.slow
def test_each_episode_is_paid_whatever_befalls_the_server_until_too_much_is_lost(begun: WholeRun) -> None:
    printed = begun.training.finished().output
    lost = check_batches(begun.dump, begun.folder, BATCHES, begun.faults.lost())
    # Of the first 16 traces five are late, and the next one is garbled; samples that are alike are one trace.
    assert begun.faults.num_done() == {Lapse.TIMEOUT: 5, Lapse.MALFORMED: 1}
    assert lost[0]["timeout"] >= 1, lost
    assert lost[1][begun.faults.garbled_as()] >= 1
    assert lost[2].total() == 0
    steps = steps_of(printed)
    for step, failed in zip(steps, lost, strict=True):
        check_metrics(step, BATCHES.size, failed)
    assert "'eval_default_pass1'" in printed
    # Nothing of the evaluation was scored: after the third batch, only the fourth was asked about.
    assert 0 < len(begun.faults.garbled) <= BATCHES.size
    saved = begun.folder / "ckpt" / f"global_step{BATCHES.num_steps}_hf"
    check_weights(begun.dump, saved, BATCHES.num_steps)
    prover = httpx.get(f"{begun.server.url}/v1/prover").json()
    assert prover["version"] != begun.version
    assert prover["model"] == saved.name
    assert begun.training.process.returncode == 1
    [reported] = {line.partition("ProverError: ")[2] for line in printed.splitlines() if "errors.ProverError: " in line}
    assert reported.startswith("16 of 16 traces of this batch have no progress (16 malformed); at most 50% may fail"), (
        reported
    )


def test_a_server_that_is_down_is_reported_before_anything_starts(tmp_path: Path) -> None:
    data = write_data(tmp_path, 4)
    nowhere = f"http://127.0.0.1:{free_port()}"
    status, printed = train(tmp_path, [*arguments(data, tmp_path), "--mrt.url", nowhere])
    assert status == 1
    assert f"error: no progress server answers at --mrt.url={nowhere}" in printed
    assert "Started a local Ray instance" not in printed
