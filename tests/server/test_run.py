"""Starting, stopping and the admin port."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from mrt_reward.config import ServeSettings
from mrt_reward.errors import UNFINISHED, ConfigError, ProverUnavailable
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server import health
from mrt_reward.server.app import create_admin_app
from mrt_reward.server.health import Readiness
from mrt_reward.server.run import serve
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import TRACE, VALUES, Live, live_server, post
from tests.service.conftest import WordGrader, speller

SERVER = """
import asyncio, sys
from mrt_reward.config import ServeSettings
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.run import serve
from mrt_reward.service.scorer import Scorer
from tests.service.conftest import WordGrader, speller

async def main():
    scorer = Scorer(ScriptedProver([0.25, 0.5, 0.5, 1.0], delay_s=1.0), {"word": WordGrader()}, speller)
    settings = ServeSettings(port=0, admin_port=0, log_format="json", canary_every_s=0)
    await serve(scorer, settings, on_ready=lambda port: print(port, flush=True))

asyncio.run(main())
"""


async def test_sigterm_finishes_what_was_accepted_and_exits_with_0() -> None:
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=pipe, stderr=pipe, env=environment
    )
    assert server.stdout is not None
    port = int(await asyncio.wait_for(server.stdout.readline(), 30))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        trace = {**TRACE, "problem": "a private question"}
        running = asyncio.create_task(http.post("/v1/score", json={"traces": [trace]}))
        await asyncio.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.1)
        assert (await http.get("/readyz")).json()["error"]["code"] == "draining"
        assert (await running).json()["traces"][0]["status"] == "ok"
    _, logs = await asyncio.wait_for(server.communicate(), 20)
    assert server.returncode == 0
    events = [json.loads(line) for line in logs.decode().splitlines()]
    assert [event["event"] for event in events if event["event"] != "request"] == ["serving", "draining"]
    assert b"private" not in logs


def make_settings(**fields: object) -> ServeSettings:
    return ServeSettings(**{"port": 0, "admin_port": 0, "log_format": "off", "canary_every_s": 0, **fields})  # type: ignore[arg-type]


def make_scorer(prover: ScriptedProver | None = None) -> Scorer:
    return Scorer(prover or ScriptedProver(VALUES), {"word": WordGrader()}, speller)


@pytest.mark.parametrize("which", ["port", "admin_port"])
async def test_a_port_that_is_taken_is_reported(which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}.*choose another {which}"):
            await serve(make_scorer(), make_settings(**{which: port}))


async def test_a_prover_that_cannot_prove_at_the_start_is_reported() -> None:
    prover = ScriptedProver(VALUES)
    prover.unavailable = True
    with pytest.raises(ProverUnavailable):
        await serve(make_scorer(prover), make_settings())


async def test_a_server_whose_known_trace_changes_is_not_ready_and_says_why() -> None:
    value = 0.5
    async with live_server(ScriptedProver(lambda _text, _index: value), canary_every_s=0.01) as live:
        assert live.prover.num_calls >= 2
        assert (await live.http.get("/readyz")).status_code == 200
        assert "mrt_reward_canary_changed 0.0" in (await live.http.get("/metrics")).text
        value = 0.01
        while live.scorer.canary.problem is None:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        refused = await live.http.get("/readyz")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "canary_changed")
        assert "mrt_reward_canary_changed 1.0" in (await live.http.get("/metrics")).text
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 503


async def test_a_server_whose_known_trace_differs_cold_and_warm_does_not_start() -> None:
    prover = ScriptedProver(lambda _text, _index: 0.5 if prover.num_calls == 1 else 0.01)
    with pytest.raises(ProverUnavailable, match="cannot be trusted"):
        await serve(make_scorer(prover), make_settings(canary_every_s=600))


async def test_a_drain_that_takes_too_long_is_cut_short() -> None:
    async with live_server(ScriptedProver(VALUES, delay_s=30), drain_timeout_s=0.1) as live:
        running = asyncio.create_task(post(live, "/v1/score", {"traces": [TRACE]}))
        while not live.prover.num_calls:  # noqa: ASYNC110 - another task's state
            await asyncio.sleep(0.01)
        live.task.cancel()
        [outcome] = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(outcome, httpx.HTTPError | httpx.Response)


JSON = {"Content-Type": "application/json"}


def admin_of(scorer: Scorer, **fields: object) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_admin_app(scorer, make_settings(**fields)))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=JSON)


async def test_admin_routes_are_on_their_own_port(live: Live) -> None:
    assert (await live.http.post("/admin/drain")).status_code == 404
    async with admin_of(live.scorer, api_key="k") as admin:
        assert (await admin.delete("/admin/cache")).status_code == 401
    async with admin_of(live.scorer) as admin:
        lost = await admin.post("/v1/score", json={"traces": [TRACE]})
        assert (lost.status_code, "this is the admin port" in lost.text) == (404, True)
        await post(live, "/v1/score", {"traces": [TRACE]})
        assert (await admin.delete("/admin/cache")).json() == {"status": "ok"}
        assert (await admin.post("/admin/drain")).status_code == 200
    assert (await post(live, "/v1/score", {"traces": [TRACE]})).json()["error"]["code"] == "draining"


async def test_a_prover_that_dies_ends_the_server_with_the_cause() -> None:
    async with live_server() as live:
        assert (await live.http.get("/readyz")).status_code == 200
        live.prover.die()
        with pytest.raises(ProverUnavailable, match="told to die"):
            await asyncio.wait_for(live.task, 10)


async def test_weights_load_from_finished_folders_below_the_root_only(live: Live, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "step-1", root / "unfinished", outside):
        folder.mkdir(parents=True)
    for folder in (root / "step-1", outside):
        (folder / ".complete").touch()
    (root / "link").symlink_to(outside)
    (root / "leaky").mkdir()
    (root / "leaky" / "model.safetensors").symlink_to(outside / "model.safetensors")

    async def refused(admin: httpx.AsyncClient, path: object, **fields: object) -> tuple[int, str]:
        reply = await admin.post("/admin/weights", json={"path": path, **fields})
        error = reply.json()["error"]
        assert (error["code"] == UNFINISHED) == (path == "unfinished")
        return reply.status_code, error["message"]

    async with admin_of(live.scorer) as admin:
        assert "--weights-root" in (await refused(admin, "step-1"))[1]
    async with admin_of(live.scorer, weights_root=str(root), admin_key="k", api_key="other") as admin:
        assert (await admin.post("/admin/weights", json={"path": "step-1"})).status_code == 401
        other = {"Authorization": "Bearer other"}
        assert (await admin.post("/admin/weights", json={"path": "step-1"}, headers=other)).status_code == 403
        admin.headers["Authorization"] = "Bearer k"
        for path in ("../outside", str(outside), "link", ".", "", "/"):
            status, message = await refused(admin, path)
            assert status == 422, message
        assert "outside" in (await refused(admin, "link"))[1]
        assert "link to outside" in (await refused(admin, "leaky"))[1]
        assert "no folder" in (await refused(admin, "step-2"))[1]
        assert "marker file '.complete'" in (await refused(admin, "unfinished"))[1]
        assert (await refused(admin, "step-1", kind="pickle"))[0] == 422
        # All rules are kept, so the engine is asked; this one has no weights.
        status, message = await refused(admin, "step-1")
        assert (status, "loads no checkpoint ('step-1' was not read)" in message) == (501, True)


async def test_many_probes_ask_the_prover_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(ScriptedProver):
        checks = 0

        async def check(self) -> None:
            self.checks += 1
            await asyncio.sleep(0.01)
            await super().check()

    prover = Counting(VALUES)
    readiness = Readiness(make_scorer(prover))
    await asyncio.gather(*(readiness.check() for _ in range(20)))
    assert prover.checks == 1
    monkeypatch.setattr(health, "BELIEVED_S", 0.0)
    monkeypatch.setattr(health, "MAX_CHECK_S", 0.001)
    readiness = Readiness(make_scorer(prover))
    with pytest.raises(ProverUnavailable, match="no token within"):
        await readiness.check()
