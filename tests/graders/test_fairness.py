"""Answers that hang hold up their own request, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from mrt_reward.graders.custom import FunctionGrader
from mrt_reward.graders.docket import Docket, GradingJob, Outcome, Reply
from mrt_reward.graders.math import MathGrader
from mrt_reward.graders.pool import WorkerPool
from mrt_reward.protocols import GradeItem, Party, asking_for, asking_together
from mrt_reward.types import Grade, Verdict

NUM_TOWERS = 12
NUMBERS = count(9)


def tower() -> GradeItem:
    """Each a different one: what became of it would be remembered."""
    return GradeItem(f"{{9^{{9^{{9^{{{next(NUMBERS)}}}}}}}}}", ("7",), boxed_prefix=True)


def symbolic(number: int) -> GradeItem:
    return GradeItem(f"{{x+{number}}}", (f"{number}+x",), boxed_prefix=True)


@asynccontextmanager
async def started(num_workers: int) -> AsyncGenerator[MathGrader]:
    grader = MathGrader(num_workers=num_workers, timeout_s=0.5)
    try:
        await asyncio.gather(*(grader.grade([symbolic(1000 + number)]) for number in range(8)))
        yield grader
    finally:
        await grader.close()


async def beside_towers(grader: MathGrader, *, one_request: bool = False, caller: str | None = None) -> int:
    """How many of the answers that hang were done with when a neighbour, who came last, had his verdict.

    Args:
        grader: judges all of them.
        one_request: whether they hang in one request, and not each in its own.
        caller: who sends them, where that is known; the neighbour is another one.

    """
    num_done = 0

    async def ask() -> None:
        nonlocal num_done
        await grader.grade([tower()])
        num_done += 1

    async def request() -> None:
        asking_for(caller)
        if one_request:
            asking_together()
        await asyncio.gather(*(ask() for _ in range(NUM_TOWERS)))

    attack = asyncio.create_task(request())
    while num_done == 0:  # noqa: ASYNC110 - all are waiting by now, and the workers are at it
        await asyncio.sleep(0.01)
    before = num_done
    assert await grader.grade([symbolic(next(NUMBERS))]) == [Grade(Verdict.CORRECT)]
    attack.cancel()
    await asyncio.gather(attack, return_exceptions=True)
    return num_done - before


async def test_a_neighbour_does_not_wait_for_answers_that_hang() -> None:
    async with started(num_workers=2) as grader:
        assert await beside_towers(grader, one_request=True) <= 2
        # One request each: he waits for a first look at each, and not for their second turns.
        assert await beside_towers(grader, one_request=False) <= NUM_TOWERS // 2


async def test_where_there_is_one_worker_he_waits_for_a_turn() -> None:
    async with started(num_workers=1) as grader:
        assert await beside_towers(grader, one_request=True) <= 3


async def test_many_requests_of_one_caller_hold_up_nobody_else_with_one_worker_either() -> None:
    async with started(num_workers=1) as grader:
        assert await beside_towers(grader, caller="10.0.0.1") <= 3


async def test_where_callers_are_not_distinguished_he_waits_for_a_first_look_at_each_request() -> None:
    async with started(num_workers=1) as grader:
        # First looks have half of the time, so that he does not wait for a whole turn of each.
        assert await beside_towers(grader) <= NUM_TOWERS // 2


async def test_an_item_that_takes_long_is_judged_at_its_second_turn() -> None:
    pool = WorkerPool("tests.graders.functions:equal", num_workers=1, timeout_s=20, memory_mb=1024, quick_s=0.05)
    item = {"completion": "slow", "answers": ["slow"], "problem": ""}
    probed: list[str] = []

    def probes() -> list[dict[str, object]]:
        probed.append("once")
        return []

    try:
        reply = await pool.judge(item, probes)
    finally:
        await pool.close()
    assert (reply.outcome, reply.result["score"], probed) == (Outcome.JUDGED, 1.0, ["once"])


async def test_equal_answers_are_judged_once_and_remembered_kills_included(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    grader = FunctionGrader("tests.graders.functions:counted", num_workers=2, timeout_s=0.5)

    async def num_calls(texts: list[str]) -> tuple[int, set[Verdict]]:
        calls.write_text("")
        items = [GradeItem(text, ("4",), problem=str(calls)) for text in texts]
        grades = await asyncio.gather(*(grader.grade([item]) for item in items))
        return len(calls.read_text()), {grade.verdict for [grade] in grades}

    try:
        assert await num_calls(["4"] * 30) == (1, {Verdict.CORRECT})
        # Twice, because a kill is reproduced; the known-good item in between is asked again, too.
        assert await num_calls(["hang"] * 30) == (3, {Verdict.UNPARSED})
        assert await num_calls(["hang"] * 30 + ["4"]) == (0, {Verdict.UNPARSED, Verdict.CORRECT})
        assert (await num_calls(["raise"]))[0] == 1
        assert await num_calls(["raise"]) == (1, {Verdict.UNGRADED})  # our own failures are tried again
    finally:
        await grader.close()


async def waiting(docket: Docket, key: bytes, caller: str) -> asyncio.Task[Reply]:
    task = asyncio.create_task(docket.reply(GradingJob(key, b"", tuple), Party(caller, caller)))
    await asyncio.sleep(0)
    return task


async def test_an_item_that_two_parties_ask_for_takes_the_earlier_turn_of_both() -> None:
    docket = Docket()
    tasks = [await waiting(docket, key, "much") for key in (b"1", b"2", b"3", b"4")]
    late = await waiting(docket, b"4", "late")
    served = [(await docket.next(quick_only=True, quick_first=True)) for _ in range(4)]
    assert [job.key for job in served] == [b"1", b"4", b"2", b"3"]
    for job in served:
        docket.resolve(job, Reply(Outcome.JUDGED, reason=job.key.decode()))
    assert [(await task).reason for task in (*tasks, late)] == ["1", "2", "3", "4", "4"]


async def test_whoever_leaves_gives_up_his_turns_and_a_shared_item_stays_for_the_others() -> None:
    docket = Docket()
    gone = [await waiting(docket, key, "gone") for key in (b"1", b"2", b"3")]
    stays = await waiting(docket, b"3", "stays")
    for task in gone:
        task.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    job = await docket.next(quick_only=False, quick_first=True)
    assert job.key == b"3"
    docket.again(job)
    assert await docket.next(quick_only=False, quick_first=True) is job
    docket.resolve(job, Reply(Outcome.KILLED))
    assert (await stays).outcome is Outcome.KILLED
    # What everybody left while it was judged is remembered; what waits for a second turn is not asked for again.
    last = await waiting(docket, b"5", "gone")
    job = await docket.next(quick_only=False, quick_first=True)
    last.cancel()
    await asyncio.gather(last, return_exceptions=True)
    docket.again(job)
    other = asyncio.create_task(docket.next(quick_only=False, quick_first=True))
    await asyncio.sleep(0)
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
