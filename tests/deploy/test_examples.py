"""The trainers' example scripts, run for real with stand-ins for the trainer and the prover."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.kit import ROOT
from tests.deploy.test_slurm import Cluster, free_ports

RECOMMENDED = {
    "mrt_verl": ("reward.mrt.alpha=16", "reward.mrt.baseline=rate", "reward.mrt.pay_ending=true"),
    "mrt_openrlhf": ("--mrt.alpha 16", "--mrt.baseline rate", "--mrt.pay_ending true"),
}
"""As README begins with, in each trainer's spelling."""


@pytest.mark.parametrize("adapter", sorted(RECOMMENDED))
def test_an_example_trains_as_recommended_and_its_prover_can_follow(tmp_path: Path, adapter: str) -> None:
    port = free_ports(2)
    done = Cluster(tmp_path).run(
        str(ROOT / "adapters" / adapter / "example.sh"), "follow_steps", "50",
        DATA="/data", REWARD="/data/reward.py", OUT="/shared/run", PORT=str(port),
    )  # fmt: skip
    # The stand-in of the trainer asks both addresses that it was given whether they answer.
    assert done.returncode == 0, done.stderr
    server, trainer = (tmp_path / "calls").read_text().splitlines()
    assert server.startswith("mrt-reward [7] serve --engine vllm ")
    assert f"--port {port} --admin-port {port + 1} --weights-root /shared/run" in server
    assert trainer.startswith("python [0,1,2,3,4,5,6] ")
    assert trainer.endswith(" follow_steps 50")
    for words in RECOMMENDED[adapter]:
        assert f" {words} " in trainer
    assert trainer.count(f"http://127.0.0.1:{port} ") == trainer.count(f"http://127.0.0.1:{port + 1} ") == 1
    # What is saved is below the folder that the server loads from.
    assert "default_local_dir=/shared/run " in trainer or "--ckpt.path /shared/run/checkpoints " in trainer
