"""How fast a batch is answered, against one full forward, and what a training step waits for it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from mrt_reward.benchmark.counting import prefill_lengths
from mrt_reward.benchmark.ours import scored
from mrt_reward.benchmark.plain_forward import PlainForward
from mrt_reward.benchmark.processes import measured
from mrt_reward.benchmark.recording import RecordingProver
from mrt_reward.service.scorer import Scorer
from tests.gpu.report import Figure
from tests.gpu.work import Scale


@dataclass
class Spent:
    """Time and memory of some work; filled once it is over.

    Attributes:
        seconds: that passed.
        peak_gb: highest memory of the card; of the process on a CPU.

    """

    seconds: float = 0.0
    peak_gb: float = 0.0


@contextmanager
def spending(device: torch.device) -> Generator[Spent]:
    spent = Spent()
    if device.type != "cuda":
        with measured() as cost:
            yield spent
        spent.seconds, spent.peak_gb = cost.wall_s, cost.own_peak_mb / 1000
        return
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    yield spent
    torch.cuda.synchronize(device)
    spent.seconds = time.perf_counter() - began
    spent.peak_gb = torch.cuda.max_memory_allocated(device) / 1e9


@dataclass(frozen=True)
class Stand:
    """A model that proves, and how much it is asked.

    Attributes:
        model: its name.
        scorer: the whole pipeline.
        prover: its engine, and a record of the answers.
        scale: how much is asked.
        device: where the model is.

    """

    model: str
    scorer: Scorer
    prover: RecordingProver
    scale: Scale
    device: torch.device

    def figure(self, name: str, value: float, unit: str = "", note: str = "") -> Figure:
        return Figure(self.model, name, value, unit, note)


async def likelihood(stand: Stand) -> AsyncIterator[Figure]:
    """All prefixes of a training step by likelihood, then the tokens that they need in plain forwards."""
    tokenizer = stand.prover.tokenizer
    warm_up = stand.scale.warm_up(tokenizer)
    await scored(stand.scorer.stream(warm_up.traces, warm_up.options), warm_up)
    began = time.perf_counter()
    work = stand.scale.likelihood(tokenizer)
    yield stand.figure("traces made and prepared, by one thread", time.perf_counter() - began, "s", "part of the wait")
    with spending(stand.device) as ours:
        computed = await scored(stand.scorer.stream(work.traces, work.options), work)
    needed = work.needed_tokens
    about = f"{work.num_prefixes:,} prefixes of {len(work.traces)} traces, {needed:,} tokens needed"
    yield stand.figure("likelihood: a training step waits", ours.seconds, "s", about)
    yield stand.figure("likelihood: prefixes per second", work.num_prefixes / ours.seconds)
    yield stand.figure("likelihood: tokens computed over needed", computed / needed)
    yield stand.figure("likelihood: peak memory", ours.peak_gb, "GB", "weights included")
    forward = PlainForward.of(stand.prover.inner)
    lengths = prefill_lengths(work.jobs, stand.prover.info.max_tokens - 1)
    await forward.prefill(lengths[:1], 1)
    with spending(stand.device) as plain:
        await forward.prefill(lengths, 0)
    prompts = f"{len(lengths)} prompts, one by one"
    yield stand.figure("one full forward of the unique tokens", plain.seconds, "s", prompts)
    yield stand.figure("likelihood, over one full forward", plain.seconds / ours.seconds, "", "speed; 1 is as fast")
    yield stand.figure("one full forward: peak memory", plain.peak_gb, "GB", "weights included")


async def rollouts(stand: Stand, *, coupled: bool) -> AsyncIterator[Figure]:
    """Sampled answers of some of the traces; the whole step waits as long for each of its own."""
    work = stand.scale.rollouts(stand.prover.tokenizer, coupled=coupled)
    stand.prover.taken()
    with spending(stand.device) as spent:
        await scored(stand.scorer.stream(work.traces, work.options), work)
    sampled = stand.prover.taken()
    name = "coupled rollouts" if coupled else "rollouts"
    answers = (
        f"{len(work.traces)} traces, {sampled.num_answers:,} answers of {sampled.mean_tokens:.0f} tokens on average, "
        f"at most {stand.scale.answer_tokens}"
    )
    yield stand.figure(f"{name}: answer tokens per second", sampled.num_tokens / spent.seconds, "", answers)
    each = spent.seconds / len(work.traces)
    step = f"{stand.scale.num_traces} traces at {each:.3g} s"
    yield stand.figure(f"{name}: a training step would wait", each * stand.scale.num_traces, "s", step)
    yield stand.figure(f"{name}: peak memory", spent.peak_gb, "GB", "weights included")
