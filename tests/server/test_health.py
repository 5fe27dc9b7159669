"""Alive, and able to prove: work that gets on is proof of both."""

from __future__ import annotations

import asyncio
import time

import pytest

from mrt_reward.errors import ProverUnavailable
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server import health
from mrt_reward.server.health import Readiness
from tests.server.conftest import TRACE, VALUES, live_server, post
from tests.server.test_run import make_scorer


class Working(ScriptedProver):
    """Has work under way, in which it last got on `silent` seconds ago; a token never comes."""

    silent: float | None = 0.0
    checks = 0

    @property
    def silent_s(self) -> float | None:
        return self.silent

    async def check(self) -> None:
        self.checks += 1
        await asyncio.sleep(1000)


async def test_work_that_gets_on_is_proof_of_life_and_no_token_is_asked() -> None:
    prover = Working(VALUES)
    readiness = Readiness(make_scorer(prover))
    for prover.silent in (0.0, 5.0, health.MAX_SILENT_S):
        await readiness.check()
        readiness.refuse_hanging()
    assert prover.checks == 0


async def test_work_that_does_not_get_on_hangs_for_either_probe_within_half_a_minute() -> None:
    assert health.MAX_SILENT_S < 30
    prover = Working(VALUES)
    prover.silent = health.MAX_SILENT_S + 1
    readiness = Readiness(make_scorer(prover))
    with pytest.raises(ProverUnavailable, match="ended no pass for 21 s"):
        readiness.refuse_hanging()
    with pytest.raises(ProverUnavailable, match="restart"):
        await readiness.check()
    assert prover.checks == 0


async def test_a_token_that_work_overtook_is_not_waited_for() -> None:
    prover = Working(VALUES)
    prover.silent = None
    readiness = Readiness(make_scorer(prover))
    asked = asyncio.create_task(readiness.check())
    while not prover.checks:  # noqa: ASYNC110 - another task's state
        await asyncio.sleep(0.01)
    prover.silent = 0.0
    await asyncio.wait_for(asked, 5)


async def test_an_idle_engine_is_asked_and_has_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.MAX_CHECK_S < 30
    monkeypatch.setattr(health, "MAX_CHECK_S", 0.05)
    prover = Working(VALUES)
    prover.silent = None
    readiness = Readiness(make_scorer(prover))
    readiness.refuse_hanging()
    with pytest.raises(ProverUnavailable, match="no token within"):
        await readiness.check()


async def test_an_engine_that_cannot_tell_is_believed_while_it_answers() -> None:
    class Asked(ScriptedProver):
        checks = 0

        async def check(self) -> None:
            self.checks += 1
            await super().check()

    prover = Asked(VALUES, delay_s=0.3)
    async with live_server(prover) as live:
        traces = [{**TRACE, "id": str(index), "problem": str(index)} for index in range(5)]
        running = asyncio.create_task(post(live, "/v1/score", {"traces": traces}))
        while prover.num_calls < 2:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        before = prover.checks
        for _ in range(3):
            assert (await live.http.get("/readyz")).status_code == 200
        assert prover.checks == before
        await running
        assert (await live.http.get("/readyz")).status_code == 200
        assert prover.checks == before + 1


async def test_both_probes_say_it_on_the_wire() -> None:
    class Hung(ScriptedProver):
        silent: float | None = None

        @property
        def silent_s(self) -> float | None:
            return self.silent

    prover = Hung(VALUES)
    async with live_server(prover) as live:
        for path in ("/livez", "/readyz"):
            assert (await live.http.get(path)).status_code == 200
        prover.silent = 25.0
        for path in ("/livez", "/readyz"):
            reply = await live.http.get(path)
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "prover_unavailable")
        prover.silent = None
        await live.scorer.drain()
        # A drained server is alive: nothing is gained by a restart.
        assert (await live.http.get("/livez")).status_code == 200
        assert (await live.http.get("/readyz")).status_code == 503


async def test_many_probes_at_once_cost_one_token() -> None:
    class Counting(ScriptedProver):
        checks = 0

        async def check(self) -> None:
            self.checks += 1
            await asyncio.sleep(0.01)

    prover = Counting(VALUES)
    readiness = Readiness(make_scorer(prover))
    began = time.monotonic()
    await asyncio.gather(*(readiness.check() for _ in range(20)))
    assert prover.checks <= 1 + (time.monotonic() - began) / health.BELIEVED_S


async def test_a_proof_that_is_answered_while_a_token_is_asked_for_is_proof_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Busy(ScriptedProver):
        checks = 0

        async def check(self) -> None:
            self.checks += 1
            if self.num_calls:
                await asyncio.Event().wait()

    monkeypatch.setattr(health, "ANSWERED_S", 0.0)
    prover = Busy(VALUES, delay_s=0.5)
    async with live_server(prover) as live:
        traces = [{**TRACE, "id": str(index), "problem": str(index)} for index in range(4)]
        running = asyncio.create_task(post(live, "/v1/score", {"traces": traces}))
        while not prover.num_calls:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        before = prover.checks
        assert (await live.http.get("/readyz")).status_code == 200
        assert prover.checks == before + 1
        await running


async def test_an_engine_at_work_that_cannot_tell_is_found_to_hang_within_half_a_minute() -> None:
    # The last answer was believed for `ANSWERED_S`, the next probe comes a second or so later, a token has the rest.
    assert health.ANSWERED_S + 1 + health.MAX_CHECK_S + health.LOOK_S < 30
