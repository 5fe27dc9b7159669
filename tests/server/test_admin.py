"""The admin port: a drain and its way back, and paths that no file can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.conftest import TRACE, Live, post
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
