"""veRL's trainers whose replicas have GPUs of their own, against a server: `python -m tests.verl.async_runs FOLDER`.

Each trains the bundled model for three steps on a CPU, on stand-ins for two replicas and for what hands them weights.
The prover stands still until the last step is trained, and then takes the weights of that step. It ends with an error
where a trace was lost, where a token was paid otherwise than by `core/credit.py`, or where weights are not those that
their step says.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import httpx
import torch
from safetensors.torch import load_file

from mrt_reward.core.credit_config import CreditConfig
from tests.serving import Server
from tests.verl.cpu.handover import BACKEND
from tests.verl.cpu.run import arguments, saving, start, write_data
from tests.verl.steps import check_failures, check_learning, steps_of
from tests.verl.test_training import check_batches

STEPS = 3
MRT = ["reward.type=mrt", "reward.mrt.segmenter=paragraphs", f"reward.mrt.follow_steps={STEPS}"]
APART = [
    "actor_rollout_ref.rollout.nnodes=1",
    f"actor_rollout_ref.rollout.checkpoint_engine.backend={BACKEND}",
    "actor_rollout_ref.rollout.checkpoint_engine.custom_backend_module=tests.verl.cpu.handover",
]


@dataclass(frozen=True)
class Trainer:
    """One of veRL's, and what is known of its runs.

    Attributes:
        given: arguments that choose it.
        module: its main.
        batches_per_step: updates between two handovers of weights, of 16 traces each.
        changed: whether replicas have other weights from each step on than from the one before.
        vouched: whether they say of the last step's weights what the server finds.

    """

    given: list[str]
    module: str
    batches_per_step: int
    changed: tuple[bool, ...]
    vouched: bool


TRAINERS: Mapping[str, Trainer] = {
    # The trainer's own replica lends a hand in between.
    "separate_async": Trainer(
        [
            "trainer.v1.trainer_mode=separate_async",
            "trainer.v1.separate_async.parameter_sync_step=2",
            "trainer.v1.separate_async.hybrid_rollout.enable_switch=True",
            "data.train_batch_size=8",
        ],
        "verl.trainer.main_ppo",
        batches_per_step=2,
        changed=(True, True, True),
        vouched=True,
    ),
    # The first handover comes before the first update.
    "one_step_off": Trainer(
        [
            "hydra.searchpath=[pkg://verl.trainer.config]",
            "actor_rollout_ref.hybrid_engine=False",
            "rollout.nnodes=1",
            "rollout.n_gpus_per_node=1",
        ],
        "verl.experimental.one_step_off_policy.main_ppo",
        batches_per_step=1,
        changed=(False, True, True),
        vouched=False,
    ),
}


def trained(folder: Path, trainer: Trainer) -> None:
    """A run to its end; see that the prover has other weights then."""
    (folder / "dump").mkdir(parents=True)
    data, server = write_data(folder, 64), Server(folder)
    server.start()
    try:
        server.wait()
        before = httpx.get(f"{server.url}/v1/prover").json()["version"]
        given = [*arguments(data, steps=STEPS, num_gpus=2), *saving(folder, STEPS), *APART, *trainer.given, *MRT]
        given += [f"reward.mrt.url={server.url}", f"reward.mrt.admin_url=http://127.0.0.1:{server.admin_port}"]
        run = start(folder, given, module=trainer.module, MRT_TEST_DUMP=str(folder / "dump"))
        try:
            run.finished().check()
        finally:
            run.stop()
        assert httpx.get(f"{server.url}/v1/prover").json()["version"] != before
    finally:
        server.kill()


def check(folder: Path, trainer: Trainer) -> None:
    """See that every trace was scored and paid as core does, and that weights changed when they should."""
    dump, steps = folder / "dump", steps_of(folder)
    assert not [path.read_text() for path in dump.glob("wrong_*")]
    check_learning(steps, STEPS)
    for data in steps:
        check_failures(data, {}, 16 * trainer.batches_per_step)
    check_batches(dump, STEPS * trainer.batches_per_step, folder, CreditConfig(), {})
    assert (steps[-1]["mrt/following/refused"], steps[-1]["mrt/following/vouched"]) == (0, trainer.vouched)
    weights = [load_file(dump / f"weights_{step}/model.safetensors") for step in range(STEPS + 1)]
    for (old, new), changed in zip(pairwise(weights), trainer.changed, strict=True):
        assert all(torch.equal(new[name], tensor) != changed for name, tensor in old.items())


def main(folder: Path) -> None:
    """Every trainer, one after the other."""
    for name, trainer in TRAINERS.items():
        trained(folder / name, trainer)
        check(folder / name, trainer)
        steps = steps_of(folder / name)
        print(
            f"{name}: {STEPS} steps, {sum(data['mrt/traces/scored'] for data in steps):.0f} traces scored and paid "
            f"rightly; steps waited {', '.join(format(data['mrt/prover/overhead_s'], '.2f') for data in steps)} s"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
