"""The page that shows the contract."""

from __future__ import annotations

import re

from tests.server.conftest import Live, live_server


async def test_the_page_names_every_route_and_record_and_loads_nothing(live: Live) -> None:
    reply = await live.http.get("/docs")
    document = (await live.http.get("/openapi.json")).json()
    assert reply.headers["content-type"].startswith("text/html")
    assert all(path in reply.text for path in document["paths"])
    assert "Takes <a href=#record-ScoreRequest><code>ScoreRequest</code></a>" in reply.text
    anchors = set(re.findall(r"id=(record-[\w.-]+)", reply.text))
    assert anchors == {f"record-{name}" for name in document["components"]["schemas"]}
    assert set(re.findall(r"href=#(record-[\w.-]+)", reply.text)) <= anchors
    assert not re.search(r"<script|<link|<img|src=|@import", reply.text)
    assert (await live.http.get("/redoc")).headers["location"] == "docs"


async def test_the_page_needs_the_key_where_there_is_one() -> None:
    async with live_server(api_key="k") as live:
        for path in ("/docs", "/redoc"):
            assert (await live.http.get(path)).status_code == 401
