"""A whole training run of OpenRLHF's own main, in which the server is late, garbled, killed and started again.

batch 1   of 16 scores 5 come too late
batch 2   the first score is garbled; then the server is killed, and started again
batch 3   is scored by the new one; then weights are saved, handed to it, and evaluated
batch 4   all scores are garbled, which stops the run
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.openrlhf.checking import Batches
from tests.openrlhf.cpu.run import arguments, start, write_data
from tests.serving import Server
from tests.verl.cpu.run import Training
from tests.verl.faults import Faults, faulty

BATCHES = Batches(num_steps=3, prompts=4, samples=4)
"""What is trained on; the fourth batch is not."""

PATIENCE_S = 40
"""How long a score is waited for: longer than a new server takes to be there."""


@dataclass
class WholeRun:
    """A run that goes on; `version` is that of the prover at its start."""

    folder: Path
    server: Server
    training: Training
    faults: Faults
    version: str

    @property
    def dump(self) -> Path:
        return self.folder / "dump"


def _befall(dump: Path, server: Server, training: Training, faults: Faults) -> None:
    """Kill the server once the second batch is scored, start another, and garble all once the third is scored."""
    if _written(dump / "batch_1.npz", training):
        server.kill()
        server.start()
    if _written(dump / "batch_2.npz", training):
        faults.garbling.set()


def _written(batch: Path, training: Training) -> bool:
    """Wait for a batch that is about to be trained on; False where the run ended without it."""
    while not batch.exists():
        if training.process.poll() is not None:
            return False
        time.sleep(0.2)
    return True


@contextmanager
def whole_run(folder: Path) -> Generator[WholeRun]:
    """Start one, which ends by itself."""
    num_steps, size = BATCHES.num_steps, BATCHES.size
    dump, server = folder / "dump", Server(folder)
    dump.mkdir()
    data = write_data(folder, (num_steps + 1) * BATCHES.prompts)
    server.start()
    try:
        server.wait()
        version = httpx.get(f"{server.url}/v1/prover").json()["version"]
        with faulty(server.url, hold_s=2 * PATIENCE_S, num_first=size) as (url, faults):
            given = [
                *arguments(data, folder, prompts=BATCHES.prompts, samples=BATCHES.samples),
                *("--eval.dataset", str(data), "--eval.steps", str(num_steps), "--eval.n_samples_per_prompt", "1"),
                *("--ckpt.save_hf", "--ckpt.save_steps", str(num_steps), "--ckpt.disable_ds"),
                *("--ckpt.best_metric_key", "none", "--mrt.follow_steps", str(num_steps)),
                *("--mrt.admin_url", f"http://127.0.0.1:{server.admin_port}", "--mrt.url", url),
                *("--mrt.segmenter=paragraphs", "--mrt.timeout_s", str(PATIENCE_S)),
            ]
            training = start(folder, given, MRT_TEST_DUMP=str(dump))
            befalling = threading.Thread(target=_befall, args=(dump, server, training, faults))
            befalling.start()
            try:
                yield WholeRun(folder, server, training, faults, version)
            finally:
                training.stop()
                befalling.join()
    finally:
        server.kill()
