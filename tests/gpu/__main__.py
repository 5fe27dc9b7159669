"""The embedded engine on a GPU: whether it is right there, how fast it is, and what it holds in memory.

    python -m tests.gpu --out FOLDER [--tiny] [--seconds 450]

writes `gpu.md` and `gpu.json`, whole after every figure, and ends with an error where a part failed or something does
not hold. `--tiny` goes through all of it in seconds on a CPU, and measures nothing. `run.sh` is for a machine that has
PyTorch and nothing of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import torch

from mrt_reward.benchmark.recording import RecordingProver
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.graders.exact import ExactGrader
from mrt_reward.graders.spellings import spellings
from mrt_reward.protocols import Proof
from mrt_reward.provers.hf.prover import TransformersProver
from mrt_reward.server.telemetry import configure_logs
from mrt_reward.service.scorer import Scorer
from tests.gpu import attention, equality, speed, work
from tests.gpu.models import build
from tests.gpu.report import Figure, Report, machine
from tests.gpu.speed import Stand

SECONDS = 450.0
"""After which no part begins; none takes longer than half a minute where it was planned for."""


@dataclass(frozen=True)
class Chosen:
    """What is run.

    Attributes:
        models: sizes, in their order.
        scale: of the work.
        shape: of the layer.
        device: for all of it.

    """

    models: tuple[str, ...]
    scale: work.Scale
    shape: attention.Shape
    device: torch.device


def chosen(*, tiny: bool, device: torch.device) -> Chosen:
    if tiny:
        return Chosen(("tiny",), work.TINY, attention.TINY, device)
    return Chosen(("0.6B", "1.7B"), work.FULL, attention.FULL, device)


async def measure(what: Chosen, report: Report) -> None:
    """All parts; each is in the report once it is done."""
    for model in what.models:
        await _model(model, what, report)
        # The next model finds the card empty.
        gc.collect()
        if what.device.type == "cuda":
            torch.cuda.empty_cache()
    await report.take("one layer", "attention", attention.measured(what.shape, what.device))


async def _model(model: str, what: Chosen, report: Report) -> None:
    stands: list[Stand] = []
    with tempfile.TemporaryDirectory() as folder:
        await report.take(model, "start", _started(model, what, Path(folder), stands))
        for stand in stands:
            try:
                await _parts(stand, report)
            finally:
                await stand.scorer.close()


async def _started(model: str, what: Chosen, folder: Path, stands: list[Stand]) -> AsyncIterator[Figure]:
    """A model that proves, which is put into `stands`."""
    began = time.perf_counter()
    build(model, folder, what.device)
    yield Figure(model, "made and saved", time.perf_counter() - began, "s")
    began = time.perf_counter()
    stands.append(_stand(model, folder, what))
    overhead = stands[0].prover.info.computed_per_needed or 0.0
    checked = f"it was found right, and computes {overhead:.3g} tokens per token needed"
    yield Figure(model, "loaded and checked against plain forwards", time.perf_counter() - began, "s", checked)


async def _parts(stand: Stand, report: Report) -> None:
    parts = {
        "equality": equality.compared(stand.model, _engine(stand), _proofs(stand)),
        "likelihood": speed.likelihood(stand),
        "rollouts": speed.rollouts(stand, coupled=False),
        "coupled rollouts": speed.rollouts(stand, coupled=True),
    }
    for name, figures in parts.items():
        await report.take(stand.model, name, figures)


def _stand(model: str, folder: Path, what: Chosen) -> Stand:
    settings = EngineSettings(
        model=str(folder), dtype="bfloat16", device=str(what.device), max_kv_tokens=what.scale.max_kv_tokens
    )
    prover = RecordingProver(TransformersProver(settings))
    scorer = Scorer(prover, {"exact": ExactGrader()}, spellings)
    return Stand(model, scorer, prover, what.scale, what.device)


def _engine(stand: Stand) -> TransformersProver:
    engine = stand.prover.inner
    assert isinstance(engine, TransformersProver)
    return engine


def _proofs(stand: Stand) -> list[Proof]:
    """All prefixes of one trace of each length, the shortest first."""
    jobs = stand.scale.warm_up(stand.prover.tokenizer).jobs
    proofs = [job.proof(range(len(job.cuts)), job.seeds()) for job in jobs]
    return sorted(proofs, key=lambda proof: len(proof.token_ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the table and the figures")
    parser.add_argument("--tiny", action="store_true", help="a model of two layers and short traces")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="after which no part begins")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    configure_logs("off")
    device = torch.device(arguments.device)
    if device.type != "cuda" and not arguments.tiny:
        parser.error("no GPU is here: give --tiny, which goes through all of it on a CPU")
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = machine(device) | ({"scale": "tiny, which measures nothing"} if arguments.tiny else {})
    report = Report(arguments.out, about, time.monotonic() + arguments.seconds)
    report.write()
    asyncio.run(measure(chosen(tiny=arguments.tiny, device=device), report))
    print(report.markdown())
    if not report.is_good:
        raise SystemExit("a part failed, or something does not hold: see the table")


if __name__ == "__main__":
    main()
