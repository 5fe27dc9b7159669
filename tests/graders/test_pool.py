from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from mrt_reward.graders import frames
from mrt_reward.graders import pool as pool_module
from mrt_reward.graders.pool import GraderWorker, Outcome, Reply, WorkerLost, WorkerPool

FUNCTION = "tests.graders.functions:equal"
NUMBERS = count()
GOOD = {"completion": "4", "answers": ["4"], "problem": ""}


def item(completion: str, problem: str = "") -> dict[str, object]:
    return {"completion": completion, "answers": ["4"], "problem": problem}


def good_items(count: int) -> list[dict[str, object]]:
    """Distinct ones: equal items are judged once."""
    return [item("4", f"problem {next(NUMBERS)}") for _ in range(count)]


def exists(pid: int | str) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2]
    except FileNotFoundError:
        return False


def child_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").strip()


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    workers = WorkerPool(FUNCTION, num_workers=2, timeout_s=0.5, memory_mb=1024)
    yield workers
    await workers.close()


async def test_an_item_that_twice_outlasts_its_limits_is_killed_and_its_neighbours_are_not(pool: WorkerPool) -> None:
    texts = ["4", "hang", "5", "memory", "die", "4"]
    replies = await asyncio.gather(*(pool.judge(item(text), lambda: [GOOD]) for text in texts))
    assert [reply.outcome for reply in replies] == [
        Outcome.JUDGED, Outcome.KILLED, Outcome.JUDGED, Outcome.KILLED, Outcome.KILLED, Outcome.JUDGED,
    ]  # fmt: skip
    assert [reply.reason for reply in replies] == ["", "timeout", "", "memory", "crash", ""]
    assert [replies[n].result["score"] for n in (0, 2, 5)] == [1.0, 0.0, 1.0]
    assert len(pool.pids) == 2
    # Each of the three is tried twice.
    assert pool.num_kills == {"timeout": 2, "memory": 2, "crash": 2, "lost": 0}


async def test_what_a_function_raises_fails_without_a_retry(pool: WorkerPool) -> None:
    assert await pool.judge(item("raise")) == Reply(Outcome.FAILED, reason="ValueError: told to")
    assert await pool.judge(item("exit")) == Reply(Outcome.FAILED, reason="SystemExit: 3")


async def test_without_a_probe_or_with_one_that_fails_nothing_is_blamed_on_the_item(pool: WorkerPool) -> None:
    bare = await pool.judge(item("hang"))
    assert (bare.outcome, bare.reason) == (Outcome.FAILED, "timeout, not shown to be the item's doing")
    probed = await pool.judge(item("hang"), lambda: [item("raise")])
    assert probed.outcome is Outcome.FAILED
    assert "known-good probe then failed: ValueError" in probed.reason


async def test_a_worker_killed_from_outside_is_replaced_and_its_item_judged(pool: WorkerPool) -> None:
    await asyncio.gather(*map(pool.judge, good_items(4)))
    before = pool.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    replies = await asyncio.gather(*(pool.judge(good, lambda: [GOOD]) for good in good_items(6)))
    assert {reply.outcome for reply in replies} == {Outcome.JUDGED}
    assert not set(before) & set(pool.pids)


async def test_a_caller_who_gives_up_leaves_the_worker_in_order(pool: WorkerPool) -> None:
    await pool.judge(GOOD)
    tasks = [asyncio.create_task(pool.judge(item("hang"), lambda: [GOOD])) for _ in range(6)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
    assert (await pool.judge(item("4", "another"))).outcome is Outcome.JUDGED


async def test_closing_ends_every_process_and_every_wait() -> None:
    pool = WorkerPool(FUNCTION, num_workers=1, timeout_s=30, memory_mb=1024)
    await pool.judge(GOOD)
    (pid,) = pool.pids
    child = child_of(pid)
    waiting = [asyncio.create_task(pool.judge(item("hang"))) for _ in range(3)]
    await asyncio.sleep(0.2)  # the first is being judged, the others wait
    await pool.close()
    closed = Reply(Outcome.FAILED, reason="the grader is closed")
    assert await asyncio.gather(*waiting) == [closed] * 3
    assert await pool.judge(GOOD) == closed
    for _ in range(100):  # the kernel takes a moment
        if exists(child):
            await asyncio.sleep(0.02)
    assert not exists(pid)
    assert not exists(child)
    await pool.close()


async def test_a_worker_that_does_not_start_fails_its_items_and_is_not_tried_again_at_once() -> None:
    pool = WorkerPool("tests.graders.functions:missing", num_workers=1, timeout_s=1, memory_mb=1024)
    first, second = await pool.judge(GOOD), await pool.judge(GOOD)
    assert first.outcome is Outcome.FAILED
    assert "did not load: AttributeError" in first.reason
    assert second == first
    await pool.close()


async def test_a_worker_that_is_stopped_is_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "GRACE_S", 0.1)
    pool = WorkerPool(FUNCTION, num_workers=1, timeout_s=0.2, memory_mb=1024)
    await pool.judge(GOOD)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    reply = await pool.judge(item("4", "another"))
    assert pid not in pool.pids
    assert reply.outcome in (Outcome.JUDGED, Outcome.FAILED)
    await pool.close()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exec sleep 60", "did not take the item within"),
        ("head -c 400000 > /dev/null; printf '\\0\\0\\0\\2[]'; exec sleep 60", "reply that cannot be read"),
        ("head -c 400000 > /dev/null; printf '\\0\\0\\0\\2{]'; exec sleep 60", "reply that cannot be read"),
        ("head -c 400000 > /dev/null; exec sleep 60", "gave no reply within"),
        ("head -c 400000 > /dev/null", "ended"),
    ],
)
async def test_a_worker_that_does_not_do_its_part_is_lost(script: str, reason: str) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-c", script, stdin=asyncio.subprocess.PIPE, stdout=-1)
    worker = GraderWorker(process)
    try:
        with pytest.raises(WorkerLost, match=reason):
            await worker.ask(b"x" * (400_000 - 4), 2.0)  # more than a pipe holds
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            process.kill()
        await worker.stop()


async def test_a_bug_of_ours_fails_its_item_and_the_worker_goes_on() -> None:
    def no_probes() -> list[dict[str, object]]:
        raise ZeroDivisionError("no probes today")

    pool = WorkerPool(FUNCTION, num_workers=1, timeout_s=0.3, memory_mb=1024)
    try:
        bug, good = await asyncio.gather(pool.judge(item("hang"), no_probes), pool.judge(item("4", "after a bug")))
        assert bug == Reply(Outcome.FAILED, reason="ZeroDivisionError: no probes today")
        assert (good.outcome, good.result["score"]) == (Outcome.JUDGED, 1.0)
        assert (await pool.judge(item("4", "later"))).outcome is Outcome.JUDGED
    finally:
        await pool.close()


async def test_a_payload_that_is_no_json_fails_alone(pool: WorkerPool) -> None:
    reply = await pool.judge({"completion": object()})
    assert reply.outcome is Outcome.FAILED
    assert reply.reason.startswith("TypeError")


@pytest.mark.parametrize("limits", [(0, 1.0, 512), (1, 0.0, 512), (1, 1.0, 8)])
def test_limits_that_make_no_sense_are_refused(limits: tuple[int, float, int]) -> None:
    with pytest.raises(ValueError, match="num_workers >= 1"):
        WorkerPool("math", num_workers=limits[0], timeout_s=limits[1], memory_mb=limits[2])


async def test_a_first_look_counts_in_the_time_of_an_item_unless_its_worker_was_lost() -> None:
    class Killing(WorkerPool):
        """Loses or kills the first try, kills the second."""

        def __init__(self, first: str) -> None:
            super().__init__("math", num_workers=1, timeout_s=1.0, memory_mb=256, quick_s=0.25)
            self.replies = [first, "ok", "killed"]
            self.limits: list[float | None] = []

        async def _attempt(self, slot: int, body: bytes, order: frames.Order) -> frames.Payload:
            self.limits.append(order.limit_s)
            return {"status": self.replies[len(self.limits) - 1], "reason": "timeout"}

    found: dict[str, list[float | None]] = {}
    for first in ("killed", "lost"):
        pool = Killing(first)
        await pool.judge({"answer": "a", "golds": ["b"]}, lambda: ({"answer": "1", "golds": ["1"]},))
        await pool.close()
        found[first] = pool.limits
    # The item, what is known to pass, the item again: 1 s in all, or 1 s anew.
    assert found == {"killed": [0.25, None, 0.75], "lost": [0.25, None, None]}
