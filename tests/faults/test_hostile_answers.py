"""Two hundred strings that a policy, or an attacker, might answer with: what the worst of them costs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median

import pytest

from mrt_reward.graders.math import MathGrader
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Verdict
from tests.faults.table import Figure, Row
from tests.graders.corpus import GOLD, HEAVY, MALFORMED, hostile_items
from tests.processes import children, processor_s

NUM_STRINGS = 200
MAX_S = 1.0
TITLE = "hostile answers"


def hostile(canary: str) -> dict[str, GradeItem]:
    """The corpus of the graders' own tests, and its heavy and malformed ones again, as other words for them.

    Most heavy ones are given up alone already, and cost as much twice: they come last, and most are asked by hand.
    """
    items = hostile_items(canary)
    items |= {f"{name}, in words": GradeItem(f"The answer is ${text}$.", (GOLD,)) for name, text in HEAVY.items()}
    others = {f"{name}, twice": f"{text}+{text}" for name, text in {**MALFORMED, **HEAVY}.items()}
    items |= {name: GradeItem("{" + text + "}", (GOLD,), boxed_prefix=True) for name, text in others.items()}
    return items


def healthy(number: int) -> GradeItem:
    return GradeItem(f"{{x^2+{number}}}", (f"{number}+x^2",), boxed_prefix=True)


class Meter:
    """Processor time that the grading workers of this process spend."""

    def __init__(self, grader: MathGrader) -> None:
        self._grader = grader

    def now_s(self) -> float:
        """So far: of the workers, of the processes in them, and of those that were killed."""
        return processor_s([pid for worker in self._grader.pool.pids for pid in (worker, *children(worker))])

    async def spent_s(self, item: GradeItem) -> tuple[float, Verdict]:
        before_s = self.now_s()
        (grade,) = await self._grader.grade([item])
        return self.now_s() - before_s, grade.verdict


async def renewal_s(grader: MathGrader, meter: Meter) -> float:
    """What it costs to put a new process in the place of one that was killed, twice, as for an answer that hangs."""
    (worker,) = grader.pool.pids
    costs: list[float] = []
    for number in range(5):
        for child in children(worker):
            os.kill(child, signal.SIGKILL)
        cost_s, verdict = await meter.spent_s(healthy(1000 + number))
        assert verdict is Verdict.CORRECT
        costs.append(cost_s)
    return 2 * median(costs)


@pytest.mark.a_minute
async def test_a_hostile_answer_costs_a_second_and_no_healthy_one_anything(
    row: Row, by_scale: Callable[[int, int], int], tmp_path: Path
) -> None:
    canary = tmp_path / "executed"
    items = hostile(str(canary))
    items = dict(islice(items.items(), by_scale(NUM_STRINGS, len(items))))
    grader = MathGrader(num_workers=1)
    try:
        meter = Meter(grader)
        await grader.grade([healthy(number) for number in range(5)])
        costs: dict[str, float] = {}
        verdicts: dict[str, Verdict] = {}
        num_right = 0
        for number, (name, item) in enumerate(items.items()):
            kills = sum(grader.num_kills.values())
            costs[name], verdicts[name] = await meter.spent_s(item)
            # The next one pays for the new process in the place of one that was killed: its price is taken off below.
            renewed = sum(grader.num_kills.values()) > kills
            beside_s, verdict = await meter.spent_s(healthy(100 + number))
            costs[name] += beside_s if renewed else 0.0
            num_right += verdict is Verdict.CORRECT
        baseline_s = await renewal_s(grader, meter)
    finally:
        await grader.close()
    worst = max(costs, key=lambda name: costs[name])
    done = f"{len(items)} strings, one after the other, on one worker"
    net_s = costs[worst] - baseline_s
    figure = f"{net_s:.2f} s of a processor for the worst ({worst}), and {baseline_s:.2f} s to renew its process twice"
    row.found(Figure(TITLE, done, figure, f"{MAX_S:.0f} s", net_s <= MAX_S))
    misses = sum(verdict in (Verdict.INCORRECT, Verdict.UNPARSED) for verdict in verdicts.values())
    row.found(Figure(TITLE, done, f"{misses} misses", f"{len(items)}", misses == len(items) >= NUM_STRINGS))
    figure = f"{num_right} healthy ones in between right"
    row.found(Figure(TITLE, done, figure, f"{len(items)}", num_right == len(items)))
    row.found(Figure(TITLE, done, f"executed: {canary.exists()}", "False", not canary.exists()))
