"""The page that shows the contract."""

from __future__ import annotations

import re

from tests.server.conftest import Live, live_server


async def test_the_page_names_every_route_and_loads_nothing(live: Live) -> None:
    reply = await live.http.get("/docs")
    document = (await live.http.get("/openapi.json")).json()
    assert reply.headers["content-type"].startswith("text/html")
    assert all(path in reply.text for path in document["paths"])
    assert "Takes <code>ScoreRequest</code>" in reply.text
    assert not re.search(r"<script|<link|<img|src=|https?://|@import", reply.text)
    assert (await live.http.get("/redoc")).status_code == 404


async def test_the_page_needs_the_key_where_there_is_one() -> None:
    async with live_server(api_key="k") as live:
        assert (await live.http.get("/docs")).status_code == 401
