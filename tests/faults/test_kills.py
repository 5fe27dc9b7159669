"""SIGKILL in the midst of work: scores are what they would have been, and what was done is not done again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx

from mrt_reward.client import AsyncClient, RetryPolicy
from mrt_reward.types import ScoredTrace
from tests.faults.engines import served_elsewhere
from tests.faults.mini import island_traces
from tests.faults.scripted import Script, logged
from tests.faults.started import clear_cache, expected, started, trace, until, values_of
from tests.faults.table import Figure, Row
from tests.processes import children
from tests.serving import Server, free_port

PATIENT = RetryPolicy(max_tries_away=10_000, max_wait_s=1.0)
NUM_TRACES, NUM_SLOTS = 60, 2
TRACES_A_KILL = 30
NUM_ARRIVED, NUM_LAST = 10, 4
"""Traces that had arrived when the real model's server was killed, and those of them that are allowed to be lost."""
TITLE = "kill -9 of the {}"


async def test_a_killed_server_repeats_only_what_it_had_in_hand(row: Row, tmp_path: Path) -> None:
    traces = [trace(f"k{number}", 2) for number in range(NUM_TRACES)]
    right = await expected(Script(), traces)
    ledger, kills = tmp_path / "ledger", (15, 30, 45)
    settings = {"port": free_port(), "cache_path": str(tmp_path / "scores.sqlite")}
    script = Script(delay_s=0.05, num_slots=NUM_SLOTS, ledger=str(ledger), settings=settings)

    async def lives() -> None:
        """One life after another; the last lasts until nobody asks."""
        for num_ended in (*kills, NUM_TRACES * 2):
            async with started(script, tmp_path / "log") as server:
                await until(lambda num_ended=num_ended: len(logged(ledger, "ended")) >= num_ended, 120)
                server.kill()

    living = asyncio.create_task(lives())
    async with AsyncClient(f"http://127.0.0.1:{settings['port']}", retry=PATIENT, timeout_s=120) as client:
        scored = await client.score(traces)
    living.cancel()
    await asyncio.gather(living, return_exceptions=True)
    num_same = sum(values_of(each) == right[each.id] for each in scored)
    num_repeated = sum(times - 1 for times in Counter(logged(ledger, "begun")).values())
    done = f"{len(kills)} times in a batch of {NUM_TRACES}; the client asks again"
    row.found(
        Figure(TITLE.format("server"), done, f"{num_same} scores as without", f"{NUM_TRACES}", num_same == NUM_TRACES)
    )
    # What the engine had, and what it ended in the same moment: a store writes behind the replies.
    most = 2 * NUM_SLOTS * len(kills)
    figure = f"{num_repeated} proofs done twice"
    row.found(Figure(TITLE.format("server"), done, figure, f"{most}, those in hand", num_repeated <= most))


async def test_a_killed_server_of_the_real_model_gives_the_same_scores(row: Row, tmp_path: Path) -> None:
    traces = island_traces(40, seed=5)
    settings = {"MRT_REWARD_CACHE_PATH": str(tmp_path / "scores.sqlite"), "MRT_REWARD_CANARY_EVERY_S": "0"}
    server = Server(tmp_path, settings=settings)
    server.start()
    try:
        await asyncio.to_thread(server.wait)
        got: dict[int, ScoredTrace] = {}
        async with AsyncClient(server.url, retry=PATIENT, timeout_s=200) as client:
            async for index, scored in client.stream(traces):
                got[index] = scored
                if len(got) == NUM_ARRIVED:
                    await asyncio.to_thread(server.kill)
                    server.start()
        async with httpx.AsyncClient(timeout=200) as http:
            metrics = (await http.get(f"{server.url}/metrics")).text
            num_proved = _sample(metrics, "mrt_reward_engine_seconds_count")
            await clear_cache(server)
            reply = await http.post(f"{server.url}/v1/score", json={"traces": traces})
    finally:
        server.kill()
    undisturbed = [(values_of(each), each["outcome"]) for each in reply.json()["traces"]]
    num_same = sum((values_of(got[index]), got[index].outcome) == undisturbed[index] for index in range(len(traces)))
    done = f"in a batch of {len(traces)} on `mini`, after {NUM_ARRIVED} had arrived; the client asks again"
    figure = f"{num_same} scores as without"
    row.found(Figure(TITLE.format("server"), done, figure, f"{len(traces)}", num_same == len(traces)))
    # Values may be lost that were about to be stored.
    most = len(traces) - NUM_ARRIVED + NUM_LAST
    figure = f"{num_proved:.0f} proofs after it"
    row.found(Figure(TITLE.format("server"), done, figure, f"{most}, those not finished", num_proved <= most))


def _sample(metrics: str, name: str) -> float:
    return next(float(line.split()[1]) for line in metrics.splitlines() if line.startswith(f"{name} "))


async def test_a_killed_engine_gives_the_same_scores_once_it_is_back(row: Row, tmp_path: Path) -> None:
    traces = [trace(f"e{number}", 3) for number in range(NUM_TRACES)]
    async with served_elsewhere(tmp_path) as (engine, server):
        async with AsyncClient(server.url, retry=PATIENT, timeout_s=200) as client:
            before = len(engine.asked)
            asking = asyncio.create_task(client.score(traces))
            await until(lambda: len(engine.asked) >= before + NUM_TRACES)
            engine.kill()
            await asyncio.to_thread(engine.start)
            scored = await asking
            asked = engine.asked[before:]
        async with httpx.AsyncClient(timeout=200) as http:
            await clear_cache(server)
            reply = await http.post(f"{server.url}/v1/score", json={"traces": traces})
    undisturbed = {each["id"]: values_of(each) for each in reply.json()["traces"]}
    num_same = sum(values_of(each) == undisturbed[each.id] for each in scored)
    num_questions = len(engine.asked) - before - len(asked)
    num_again = len(asked) - num_questions
    done = f"of engine openai, in a batch of {NUM_TRACES}; the client asks again"
    figure = f"{num_same} scores as without"
    row.found(Figure(TITLE.format("engine"), done, figure, f"{NUM_TRACES}", num_same == NUM_TRACES))
    figure = f"{num_again} more questions than the {num_questions} without"
    row.found(Figure(TITLE.format("engine"), done, figure, "a half", num_again <= num_questions / 2))


async def test_killed_graders_judge_as_if_nothing_had_been(
    row: Row, by_scale: Callable[[int, int], int], tmp_path: Path
) -> None:
    num_traces, num_killed = by_scale(180, 1200), 0
    # x + n, where the gold answer is n + x or n + 1 + x: mathematics, in other words each time.
    traces = [
        {**trace(f"g{n}", 1), "answer": f"{n + n % 2}+x", "completion": f"Short.</think>\\boxed{{x+{n}}}"}
        for n in range(2, num_traces + 2)
    ]
    async with started(Script(grader="math"), tmp_path / "log") as server:
        await server.post([{**trace("warm", 1), "answer": "x+1", "completion": "</think>\\boxed{1+x}"}])

        replies: list[httpx.Response] = []
        for start in range(0, num_traces, TRACES_A_KILL):
            asking = asyncio.create_task(server.post(traces[start : start + TRACES_A_KILL]))
            await asyncio.sleep(0.05)
            # A worker, and the next time the process in it that looks at answers.
            worker = children(server.pid)[0]
            num_killed += _killed(worker if num_killed % 2 else children(worker)[0])
            replies.append(await asking)
    outcomes = [each["outcome"] for reply in replies for each in reply.json()["traces"]]
    num_right = sum(outcome == 1 - n % 2 for n, outcome in enumerate(outcomes, start=2))
    done = f"{num_killed} of its processes in {num_traces} symbolic answers"
    figure = f"{num_right} outcomes as without"
    row.found(Figure(TITLE.format("grader"), done, figure, f"{num_traces}", num_right == num_traces and num_killed > 2))


def _killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
