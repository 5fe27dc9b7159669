from __future__ import annotations

import asyncio
import contextlib
from itertools import count
from pathlib import Path

from mrt_reward.graders.math import MathGrader
from mrt_reward.protocols import GradeItem
from mrt_reward.types import Grade, Verdict
from tests.graders.corpus import hostile_items
from tests.processes import children, processor_s

NUM_WORKERS = 4
AT_ONCE = 3  # one worker is always left for the neighbours
MAX_S = 2.0
"""Of a processor, for one that is killed: what that takes by the clock is up to everybody else on the machine."""


def exists(path: Path | str) -> bool:
    return Path(path).exists()


async def test_hostile_strings_cost_two_seconds_lose_no_worker_and_leave_neighbours_alone(tmp_path: Path) -> None:
    canary = tmp_path / "executed"
    items = hostile_items(str(canary))
    assert len(items) >= 60
    grader = MathGrader(num_workers=NUM_WORKERS)
    try:
        # Start all workers first: their import is nobody's cost.
        await grader.grade([GradeItem(f"{{x+{n}}}", (f"{n}+x",), boxed_prefix=True) for n in range(20)])
        pids = set(grader.pool.pids)
        slots = asyncio.Semaphore(AT_ONCE)
        grades: dict[str, Grade] = {}

        async def attack(name: str, item: GradeItem) -> None:
            async with slots:
                (grades[name],) = await grader.grade([item])

        async def live_beside() -> None:
            for n in count(100):
                neighbour = GradeItem(f"{{x^2+{n}}}", (f"{n}+x^2",), boxed_prefix=True)
                neighbours.extend(await grader.grade([neighbour]))
                await asyncio.sleep(0.02)

        neighbours: list[Grade] = []
        before_s = processor_s(pids)
        beside = asyncio.create_task(live_beside())
        await asyncio.gather(*(attack(name, item) for name, item in items.items()))
        beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beside

        cost_s = processor_s(pids) - before_s
        killed = [name for name, grade in grades.items() if grade.reason in ("timeout", "memory", "crash")]
        print(f"\n{len(grades)} hostile strings, {len(killed)} killed, {cost_s:.1f} s of processors")
        assert cost_s <= MAX_S * len(killed)
        misses = (Verdict.INCORRECT, Verdict.UNPARSED)
        assert {name: grade for name, grade in grades.items() if grade.verdict not in misses} == {}
        assert len(killed) >= 10
        assert len(neighbours) > 20
        assert {grade.verdict for grade in neighbours} == {Verdict.CORRECT}
        assert set(grader.pool.pids) == pids
        # The last kill's replacement is forked by the next item; all of them answer again, with at most one child each.
        again = [GradeItem(f"{{y+{n}}}", (f"{n}+y",), boxed_prefix=True) for n in range(40)]
        assert {grade.verdict for grade in await grader.grade(again)} == {Verdict.CORRECT}
        assert all(len(children(pid)) <= 1 for pid in pids)
        assert not exists(canary)
    finally:
        await grader.close()
    assert not any(exists(f"/proc/{pid}") for pid in pids)
