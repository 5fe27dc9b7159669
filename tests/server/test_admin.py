"""The admin port: a drain and its way back, and paths that no file can have."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mrt_reward.errors import WeightsError
from mrt_reward.protocols import WeightsCanary, WeightsKind
from mrt_reward.provers.scripted import ScriptedProver
from tests.server.conftest import TRACE, VALUES, Live, live_server, post
from tests.server.test_run import admin_of


@pytest.mark.parametrize("how", ["delete", "post"])
async def test_a_drain_can_be_taken_back(live: Live, how: str) -> None:
    async with admin_of(live.scorer) as admin:
        assert (await admin.post("/admin/drain")).json() == {"status": "ok"}
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 503
        assert (await live.http.get("/livez")).status_code == 200
        back = admin.delete("/admin/drain") if how == "delete" else admin.post("/admin/drain", json={"draining": False})
        assert (await back).json() == {"status": "ok"}
        assert (await live.http.get("/readyz")).status_code == 200
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 200


async def test_a_drain_may_be_said_in_words(live: Live) -> None:
    async with admin_of(live.scorer) as admin:
        assert (await admin.post("/admin/drain", json={"draining": True})).status_code == 200
        assert (await live.http.get("/readyz")).status_code == 503
        assert (await admin.post("/admin/drain", json={"drain": False})).status_code == 422


async def test_a_server_that_ends_does_not_begin_again(live: Live) -> None:
    live.scorer.activity.end()
    async with admin_of(live.scorer) as admin:
        assert (await admin.delete("/admin/drain")).status_code == 503
    assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 503


@pytest.mark.parametrize("path", ["a\0b", "\0", "x" * 4000, "a/" * 1500 + "b", "\x1b[31m", "circle"])
async def test_a_path_that_no_folder_can_have_is_the_callers_error(live: Live, tmp_path: Path, path: str) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    async with admin_of(live.scorer, weights_root=str(tmp_path)) as admin:
        reply = await admin.post("/admin/weights", json={"path": path})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "path")


class Slow(ScriptedProver):
    """Takes the folder's name as its version, once it is let; its answer to every canary is -1."""

    def __init__(self) -> None:
        super().__init__(VALUES)
        self.let = asyncio.Event()
        self.num_loads = 0

    async def load_weights(self, folder: Path, kind: WeightsKind, canary: WeightsCanary | None = None) -> None:
        del kind
        self.num_loads += 1
        await self.let.wait()
        if canary is not None and canary.logprob != -1.0:
            raise WeightsError("the canary's answer differs", code="canary_differs", param="canary")
        self.version = folder.name


def finished(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir()
        (root / name / ".complete").touch()


async def test_a_slow_load_is_reported_and_done_once(tmp_path: Path) -> None:
    finished(tmp_path, "step-2")
    prover = Slow()
    async with live_server(prover) as live, admin_of(live.scorer, weights_root=str(tmp_path)) as admin:
        # A deadline that is over before anything is done: the load was begun all the same.
        soon = {"X-Deadline-Ms": "1"}
        for _ in range(2):
            reply = await admin.post("/admin/weights", json={"path": "step-2"}, headers=soon)
            assert (reply.status_code, reply.json()) == (202, {"status": "loading"})
        assert prover.num_loads == 1
        # The old weights prove meanwhile, under their own version.
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).json()["traces"][0]["prover"].endswith("@1")
        asking = [asyncio.create_task(admin.post("/admin/weights", json={"path": "step-2"})) for _ in range(3)]
        prover.let.set()
        for reply in await asyncio.gather(*asking):
            assert (reply.status_code, reply.json()["version"]) == (200, "step-2")
        assert (await admin.post("/admin/weights", json={"path": "step-2"})).json()["version"] == "step-2"
        assert prover.num_loads == 1
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).json()["traces"][0]["prover"].endswith("@step-2")


async def test_a_failed_publication_is_not_ready_and_nothing_proves_under_its_name(tmp_path: Path) -> None:
    finished(tmp_path, "step-2", "step-3")
    prover = Slow()
    prover.let.set()
    canary = {"prompt_ids": [1, 2], "answer_ids": [3, 4], "logprob": -2.0}
    async with live_server(prover) as live, admin_of(live.scorer, weights_root=str(tmp_path)) as admin:
        reply = await admin.post("/admin/weights", json={"path": "step-2", "canary": canary})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "canary_differs")
        ready = await live.http.get("/readyz")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "weights_not_taken")
        assert (await live.http.get("/livez")).status_code == 200
        # Who asks all the same gets values of the old weights, under their version.
        assert (await post(live, "/v1/score", {"traces": [TRACE]})).json()["traces"][0]["prover"].endswith("@1")
        reply = await admin.post("/admin/weights", json={"path": "step-3", "canary": {**canary, "logprob": -1.0}})
        assert reply.json()["version"] == "step-3"
        assert (await live.http.get("/readyz")).status_code == 200


@pytest.mark.parametrize("wrong", [{"logprob": 1.0}, {"answer_ids": [3]}, {"prompt_ids": [1, -2]}, {"extra": 1}])
async def test_a_canary_that_is_none_is_the_callers_error(tmp_path: Path, wrong: dict[str, object]) -> None:
    finished(tmp_path, "step-2")
    canary = {"prompt_ids": [1, 2], "answer_ids": [3, 4], "logprob": -2.0, **wrong}
    async with live_server(Slow()) as live, admin_of(live.scorer, weights_root=str(tmp_path)) as admin:
        reply = await admin.post("/admin/weights", json={"path": "step-2", "canary": canary})
        assert reply.status_code == 422
        assert (await live.http.get("/readyz")).status_code == 200, "nothing was published"
