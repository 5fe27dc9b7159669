"""An endpoint that accepts questions and answers none, beside others that answer; and one that is only slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from pathlib import Path

import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs

from mrt_reward.errors import ProverUnavailable
from mrt_reward.protocols import Proof
from mrt_reward.provers.openai import replica, watch
from mrt_reward.provers.openai.endpoint import Endpoint
from mrt_reward.provers.openai.prover import OpenAIProver
from mrt_reward.provers.openai.watch import Watch
from tests.provers.openai.fake_endpoint import FakeEndpoint
from tests.provers.openai.kit import FLEET, expected, likelihoods
from tests.provers.openai.switchboard import Switchboard
from tests.provers.openai.test_fleet import board, fakes, owners, started, traces, until, up
from tests.provers.proving import prove_all

__all__ = ["board", "fakes"]

Waits = Callable[[httpx.Request], bool]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENT_S", 0.02)
    monkeypatch.setattr(watch, "LOOK_S", 0.005)
    monkeypatch.setattr(replica, "LOOK_S", 0.005)
    monkeypatch.setattr(replica, "TOKEN_S", 0.5)


def of_process(request: httpx.Request) -> bool:
    """The whole process stands still, as after SIGSTOP."""
    return request.url.host == "a"


def of_engine(request: httpx.Request) -> bool:
    """It says who it is, and generates nothing."""
    return request.url.host == "a" and request.method == "POST"


def of_traces(request: httpx.Request) -> bool:
    """It has much to do, and gives a token all the same."""
    return of_engine(request) and request.headers["x-session-id"] != "check"


def owners_of_traces(fakes: dict[str, FakeEndpoint]) -> dict[str, set[str]]:
    """As `owners`, without questions for a token."""
    return {session: hosts for session, hosts in owners(fakes).items() if session != "check"}


def check_all(proofs: list[Proof], proven: list[object]) -> None:
    for proof, one in zip(proofs, proven, strict=True):
        np.testing.assert_allclose(likelihoods(one), expected(proof), atol=1e-9)  # type: ignore[arg-type]


async def owned_by_a(prover: OpenAIProver, fakes: dict[str, FakeEndpoint], num: int) -> list[Proof]:
    """Proofs that belong to the endpoint a."""
    proofs = traces(12 * num)
    await prove_all(prover, proofs)
    found = owners_of_traces(fakes)
    for fake in fakes.values():
        fake.asked.clear()
    return [proof for proof in proofs if found[proof.session] == {"a"}][:num]


@pytest.mark.parametrize("waits", [of_process, of_engine])
async def test_one_that_hangs_beside_others_that_answer_is_left_out_and_its_traces_get_the_same_scores(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, waits: Waits
) -> None:
    prover = await started(board, qwen_dir, fakes)
    undisturbed = await prove_all(prover, traces(15))
    before = owners_of_traces(fakes)
    for fake in fakes.values():
        fake.asked.clear()
    board.waits = waits
    others = [proof for proof in traces(15) if before[proof.session] != {"a"}]
    proving = asyncio.create_task(prove_all(prover, traces(15)))
    while up(prover) == "abc":
        assert all(one.answers for one in await prove_all(prover, others[:3])), "the others go on answering"
    assert [likelihoods(one) for one in await proving] == [likelihoods(one) for one in undisturbed]
    problem = prover.endpoints[0].problem
    assert (up(prover), "http://a:9 answered nothing" in problem) == ("bc", True), problem
    after = owners_of_traces(fakes)
    assert {session for session, hosts in before.items() if after[session] != hosts} == {
        session for session, hosts in before.items() if hosts == {"a"}
    }
    # It answers again, is let in again, and has its own traces again.
    board.waits = lambda _: False
    await until(lambda: up(prover) == "abc")
    for fake in fakes.values():
        fake.asked.clear()
    await prove_all(prover, traces(15))
    assert owners_of_traces(fakes) == before
    await prover.close()


async def test_looking_at_one_is_no_part_of_the_request_that_waits_for_it(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    proofs = await owned_by_a(prover, fakes, 1)
    request = ContextVar("request", default="none")
    asked_in: set[tuple[str, str]] = set()

    def waits(asked: httpx.Request) -> bool:
        if of_process(asked):
            asked_in.add((asked.headers.get("x-session-id", "check"), request.get()))
        return of_engine(asked)

    board.waits = waits
    request.set("first")
    check_all(proofs, list(await prove_all(prover, proofs)))
    # It is asked for a token, left out, and asked about the known trace.
    await until(lambda: len({session for session, _ in asked_in}) == 3)
    assert {pair for pair in asked_in if pair[1] == "first"} == {(proofs[0].session, "first")}
    await prover.close()


async def test_one_that_is_slow_with_every_trace_and_gives_a_token_stays(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    proofs = await owned_by_a(prover, fakes, 2)
    board.waits = of_traces
    proving = asyncio.create_task(prove_all(prover, proofs))
    # Each question that reached it meanwhile was for a token.
    await until(lambda: len(fakes["a"].asked) > 4)
    board.waits = lambda _: False
    check_all(proofs, list(await proving))
    assert up(prover) == "abc"
    assert not fakes["b"].asked + fakes["c"].asked
    await prover.close()


async def test_one_whose_other_questions_are_answered_stays_although_a_token_waits_behind_a_long_one(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "TOKEN_S", 0.1)
    prover = await started(board, qwen_dir, fakes)
    [long, *others] = await owned_by_a(prover, fakes, 3)
    was_probed = False

    def waits(request: httpx.Request) -> bool:
        is_check = request.headers.get("x-session-id") == "check"
        nonlocal was_probed
        was_probed |= is_check and of_engine(request)
        return of_engine(request) and (is_check or request.headers["x-session-id"] == long.session)

    board.waits = waits
    proving = asyncio.create_task(prover.prove(long))
    ends_at = asyncio.get_running_loop().time() + 4 * (watch.SILENT_S + replica.TOKEN_S)
    while asyncio.get_running_loop().time() < ends_at:
        await prove_all(prover, others)
        await asyncio.sleep(0.03)
    assert was_probed, "it was asked whether it writes"
    assert up(prover) == "abc"
    board.waits = lambda _: False
    check_all([long], [await proving])
    assert not fakes["b"].asked + fakes["c"].asked
    await prover.close()


async def test_one_whose_queue_is_full_stays_while_its_own_counts_move_and_goes_once_they_stand_still(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    proofs = await owned_by_a(prover, fakes, 2)
    looks = count()
    fakes["a"].counted = lambda: min(next(looks), 12)
    board.waits = of_engine
    proving = asyncio.create_task(prove_all(prover, proofs))
    await until(lambda: up(prover) != "abc")
    assert next(looks) > 12
    check_all(proofs, list(await proving))
    assert up(prover) == "bc"
    await prover.close()


async def test_one_that_hangs_while_it_is_looked_at_again_is_looked_at_anew(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    board.down = {"a"}
    await prover.check()
    assert up(prover) == "bc"
    board.waits = of_process
    board.down = set()
    await asyncio.wait_for(until(lambda: "did not say who it is" in prover.endpoints[0].problem), 60)
    board.waits = lambda _: False
    await until(lambda: up(prover) == "abc")
    await prover.close()


async def test_where_all_hang_what_waits_is_answered_once_they_do(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes)
    board.waits = lambda _: True
    proving = asyncio.create_task(prove_all(prover, traces(9)))
    await until(lambda: up(prover) == "")
    board.waits = lambda _: False
    check_all(traces(9), list(await proving))
    await prover.close()


async def test_one_that_hangs_at_the_start_holds_nobody_up(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    board.waits = of_process
    prover = await started(board, qwen_dir, fakes)
    assert (up(prover), "after another did" in prover.endpoints[0].problem) == ("bc", True)
    check_all(traces(9), list(await prove_all(prover, traces(9))))
    board.waits = lambda _: False
    await until(lambda: up(prover) == "abc")
    await prover.close()


@pytest.mark.parametrize("waits", [of_process, of_engine])
async def test_an_idle_one_that_hangs_is_found_by_a_check_which_passes(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, waits: Waits
) -> None:
    prover = await started(board, qwen_dir, fakes)
    board.waits = waits
    await prover.check()
    assert (up(prover), "within 0.5 s" in prover.endpoints[0].problem) == ("bc", True)
    await prover.close()


async def test_a_check_is_asked_beside_all_that_waits(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "TOKEN_S", 10.0)
    prover = await started(board, qwen_dir, fakes)
    board.waits = lambda request: request.method == "POST" and request.headers["x-session-id"] != "check"
    board.tries.clear()
    proving = asyncio.create_task(prove_all(prover, traces(3 * 64)))
    await until(lambda: min(board.tries.count(host) for host in FLEET) >= 32)
    await prover.check()
    assert up(prover) == "abc"
    proving.cancel()
    await asyncio.gather(proving, return_exceptions=True)
    await prover.close()


async def test_a_trainers_own_engines_are_given_all_the_time(
    board: Switchboard, fakes: dict[str, FakeEndpoint], qwen_dir: Path
) -> None:
    prover = await started(board, qwen_dir, fakes, shared=True)
    board.waits = of_engine
    proofs = traces(30)
    proving = asyncio.create_task(prove_all(prover, proofs))
    await asyncio.sleep(3 * (watch.SILENT_S + replica.TOKEN_S))
    assert (up(prover), proving.done()) == ("abc", False)
    board.waits = lambda _: False
    check_all(proofs, list(await proving))
    await prover.close()


class Asked:
    """An endpoint that is asked one question, which is answered when the test says so."""

    def __init__(self) -> None:
        self.endpoint = Endpoint("http://a:9")
        self.num_probes = 0
        self.watch = Watch(self.endpoint, self.writes)
        self.answer = asyncio.Event()

    async def writes(self) -> bool:
        self.num_probes += 1
        return False

    async def question(self) -> str:
        await self.answer.wait()
        return "answered"


def watching() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("watch ")]


async def test_nothing_is_watched_once_nothing_is_asked_and_who_leaves_takes_the_question_along() -> None:
    asked = Asked()
    first, second = (asyncio.create_task(asked.watch.kept(asked.question())) for _ in range(2))
    await asyncio.sleep(0)
    assert watching() == ["watch http://a:9"]
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (first.cancelled(), watching()) == (True, ["watch http://a:9"])
    asked.answer.set()
    assert await second == "answered"
    assert (watching(), asked.num_probes) == ([], 0)


async def test_one_that_hangs_gives_up_all_that_it_was_asked_and_the_next_question_is_watched_anew() -> None:
    asked = Asked()
    for round_ in (1, 2):
        outcomes = await asyncio.gather(*(asked.watch.kept(asked.question()) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in outcomes] == [ProverUnavailable] * 3
        assert (asked.num_probes, watching()) == (round_, [])


async def test_where_it_cannot_be_found_out_whether_it_writes_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()

    async def fails() -> bool:
        raise ValueError("a bug")

    monkeypatch.setattr(asked.watch, "_writes", fails)
    with capture_logs() as lines, pytest.raises(ProverUnavailable, match="answered nothing"):
        await asyncio.wait_for(asked.watch.kept(asked.question()), 60)
    assert [line["event"] for line in lines] == ["endpoint_cannot_be_watched"]


async def test_where_nobody_watches_any_more_the_next_question_is_watched_anew() -> None:
    asked = Asked()
    first = asyncio.create_task(asked.watch.kept(asked.question()))
    await asyncio.sleep(0)
    assert asked.watch._watching is not None
    asked.watch._watching.cancel()
    await asyncio.gather(asked.watch._watching, return_exceptions=True)
    asking = asyncio.gather(first, asked.watch.kept(asked.question()), return_exceptions=True)
    assert [type(each) for each in await asyncio.wait_for(asking, 60)] == [ProverUnavailable] * 2


async def test_what_asking_raises_is_passed_on() -> None:
    asked = Asked()

    async def fails() -> None:
        raise ProverUnavailable("gone")

    with pytest.raises(ProverUnavailable, match="gone"):
        await asked.watch.kept(fails())
