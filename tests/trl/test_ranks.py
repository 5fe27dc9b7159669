"""Two processes train together, with a group across both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.serving import free_port
from tests.trl.policy import scripted_server, steps_of
from tests.trl.ranks import TEXTS, train


def run(folder: Path, url: str, mode: str) -> tuple[list[int], list[dict[str, Any]]]:
    """Exit status and what each process wrote."""
    variables = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.trl.ranks", str(folder), url, mode]
    processes = [
        subprocess.Popen(
            command,
            env={**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        output = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    files = [folder / f"{rank}.json" for rank in range(2)]
    assert all(file.exists() for file in files), "\n".join(output)[-4000:]
    return [process.returncode for process in processes], [json.loads(file.read_text()) for file in files]


@pytest.mark.slow
def test_a_group_across_processes_is_paid_as_in_one(tmp_path: Path) -> None:
    with scripted_server() as url:
        status, output = run(tmp_path, url, "train")
        [alone] = (made := train(tmp_path / "alone", url, TEXTS, 4)).kept
    assert status == [0, 0]
    assert [each["world"] for each in output] == [2, 2]
    together = [row for each in output for row in each["advantages"]]
    for row, (found, length) in enumerate(zip(together, alone.lengths, strict=True)):
        assert found == pytest.approx(alone.advantages[row, :length].tolist(), abs=1e-6)
    assert len(together) == 4
    # Progress is paid, against the other process's: the group's baselines are not its own.
    assert max(together[0]) - min(together[0]) > 0.1
    metrics, theirs = output[0]["metrics"], steps_of(made)[0]
    for name in ("mrt/traces/scored", "mrt/traces/no_thinking", "mrt/progress/mean", "mrt/outcome/mean", "mrt/regret"):
        assert metrics[name] == pytest.approx(theirs[name]), name


@pytest.mark.slow
def test_all_processes_stop_when_too_many_traces_have_no_score(tmp_path: Path) -> None:
    with scripted_server() as url:
        status, output = run(tmp_path, url, "fail")
    assert status == [3, 3]
    assert all("4 of 4 traces of this batch have no progress (4 rejected)" in each["error"] for each in output)
