"""How much one batch says: the gradient of each way to pay, against the gradient of success on other traces.

A policy follows the gradient of one batch. Of what that gradient is made of, the part that all batches share moves the
policy somewhere, and the rest is noise. Both are measured without training: batches are sampled from one policy, and
each is paid in every way.

    share      |E g|² / E |g|²            what all batches share, of the squared norm of one
    alignment  E cos(g_b, Σ_{c≠b} s_c)    with s, the plain gradient of success within the budget, of all other batches

To first order a step of a given length raises success in proportion to its true alignment. Here s is an estimate, whose
noise lowers all alignments by one factor: their ratios are what counts.

Dimension key: B batches · N parameters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.study.loop import StudyLoop, Written
from tests.study.runs import RunSpec, new_loop

Floats = NDArray[np.float64]

SUCCESS = "success"
"""Of the gradient that all are compared with: of the outcome less its group's mean, on all tokens alike."""
_SEED = 4_000_037


@dataclass(frozen=True)
class Signal:
    """Of one way to pay.

    Attributes:
        arm: by name.
        gram_BB: inner products of its gradients, batch with batch.
        success_BB: inner products of its gradients with those of success; the second batch is that of success.
        norm_BB: inner products of the gradients of success.

    """

    arm: str
    gram_BB: Floats
    success_BB: Floats
    norm_BB: Floats

    @property
    def share(self) -> float:
        """Part of a batch's squared gradient that all batches share, without bias; at most 1, below 0 by chance."""
        size, total, own = len(self.gram_BB), self.gram_BB.sum(), np.trace(self.gram_BB)
        return float((total - own) / (size - 1) / own)

    @property
    def alignment_B(self) -> Floats:  # noqa: N802 - an array
        """Cosine of each batch's gradient with that of success on all other batches."""
        size = len(self.gram_BB)
        others_BB = 1.0 - np.eye(size)
        norm_B = np.einsum("bc,cd,bd->b", others_BB, self.norm_BB, others_BB)
        return (self.success_BB * others_BB).sum(1) / np.sqrt(np.diag(self.gram_BB) * norm_B)


def measure(
    specs: Sequence[RunSpec], num_batches: int, state: Path, report: Callable[[int], None] = lambda _: None
) -> list[Signal]:
    """Sample batches, and take the gradients of each; what was done before a stop is not done again.

    Args:
        specs: one for each way to pay; alike in all else.
        num_batches: B, at least 2.
        state: folder of the gradients.
        report: called with how many batches are done.

    """
    paths = [state / f"{batch:04}.pt" for batch in range(num_batches)]
    asyncio.run(_take(specs, paths, report))
    success_BN = _of_all(paths, SUCCESS)
    norm_BB = (success_BN @ success_BN.T).numpy()
    found: list[Signal] = []
    for arm in [spec.arm for spec in specs]:
        of_arm_BN = _of_all(paths, arm)
        gram_BB, with_BB = ((of_arm_BN @ other_BN.T).numpy() for other_BN in (of_arm_BN, success_BN))
        found.append(Signal(arm, gram_BB, with_BB, norm_BB))
    return found


async def _take(specs: Sequence[RunSpec], paths: Sequence[Path], report: Callable[[int], None]) -> None:
    loops = {spec.arm: new_loop(spec, paths[0].parent / "loops" / spec.arm) for spec in specs}
    try:
        for batch, path in enumerate(paths):
            if not path.is_file():
                torch.save(await _gradients(loops, batch), path.with_suffix(".part"))
                path.with_suffix(".part").replace(path)
            report(batch + 1)
    finally:
        await asyncio.gather(*(loop.close() for loop in loops.values()))


def _of_all(paths: Sequence[Path], arm: str) -> Tensor:
    """Gradients `BN` of one way to pay; double, as sums of millions of products are not exact in less."""
    return torch.stack([torch.load(path, mmap=True)[arm].double() for path in paths])


async def _gradients(loops: dict[str, StudyLoop], batch: int) -> dict[str, Tensor]:
    """Of one batch, for each way to pay, and of success; half as exact, because there are many."""
    first = next(iter(loops.values()))
    torch.manual_seed(_SEED + batch)
    rollouts = first.think(first.draw(np.random.default_rng(_SEED + batch)))
    paid: dict[str, Tensor] = {SUCCESS: _success(first, rollouts)}
    for arm, loop in loops.items():
        records, _ = await loop.score(rollouts)
        paid[arm], _ = loop.pay(records)
    total: dict[str, Tensor] = {}
    for arm, gradient in _parts(first, rollouts, paid):
        total[arm] = total[arm] + gradient if arm in total else gradient
    return {arm: gradient.bfloat16() for arm, gradient in total.items()}


def _success(loop: StudyLoop, rollouts: Written) -> Tensor:
    """r less its group's mean for each token, (B, 1)."""
    report = [loop.success(rollouts.response(row)) for row in range(len(rollouts.problems))]
    reward_PG = torch.tensor(report).unflatten(0, (-1, loop.settings.group_size))
    return (reward_PG - reward_PG.mean(1, keepdim=True)).flatten()[:, None]


def _parts(loop: StudyLoop, rollouts: Written, paid: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Gradient `N` of each way to pay, one part of the rows after the other; the forward pass is shared."""
    parameters = list(loop.policy.parameters())
    is_response = rollouts.mask[:, rollouts.num_prompt :]
    for rows in torch.split(torch.arange(len(rollouts.problems)), loop.settings.micro_rows):
        report = loop.logprobs(rollouts, rows)
        for arm, advantage_BT in paid.items():
            gain: Any = (advantage_BT * is_response)[rows] * report
            parts = torch.autograd.grad(gain.sum() / is_response.sum(), parameters, retain_graph=True)
            yield arm, torch.cat([part.flatten() for part in parts])


def write(signals: Sequence[Signal], what: dict[str, Any], path: Path) -> None:
    """Inner products as JSON, all that the page needs."""
    arms = {each.arm: {"gram": _rounded(each.gram_BB), "success": _rounded(each.success_BB)} for each in signals}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**what, "norm": _rounded(signals[0].norm_BB), "arms": arms}) + "\n", encoding="utf-8")


def read(path: Path) -> list[Signal]:
    """What `write` wrote."""
    report = json.loads(path.read_text(encoding="utf-8"))
    norm_BB = np.array(report["norm"])
    return [
        Signal(arm, np.array(each["gram"]), np.array(each["success"]), norm_BB) for arm, each in report["arms"].items()
    ]


def _rounded(gram_BB: Floats) -> list[list[float]]:
    return [[float(f"{each:.5g}") for each in row] for row in gram_BB.tolist()]


def table(signals: Sequence[Signal], against: str = "outcome") -> str:
    """Shares and alignments in Markdown, best first; ± is the standard error over batches."""
    rows = [
        "| arm | share that all batches share | alignment with success on other traces | of that of outcome |",
        "| --- | --- | --- | --- |",
    ]
    base = next((each.alignment_B.mean() for each in signals if each.arm == against), np.nan)
    for each in sorted(signals, key=lambda each: -each.alignment_B.mean()):
        mean, error = each.alignment_B.mean(), each.alignment_B.std(ddof=1) / len(each.alignment_B) ** 0.5
        rows.append(f"| {each.arm} | {each.share:.3f} | {mean:.3f} ± {error:.3f} | {mean / base:.1f} |")
    return "\n".join(rows) + "\n"
