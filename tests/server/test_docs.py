"""The page that shows the contract."""

from __future__ import annotations

import re

import pytest

from mrt_reward.server.docs import prose
from tests.server.conftest import Live, live_server


async def test_the_page_names_every_route_and_record_and_loads_nothing(live: Live) -> None:
    reply = await live.http.get("/docs")
    document = (await live.http.get("/openapi.json")).json()
    assert reply.headers["content-type"].startswith("text/html")
    assert all(path in reply.text for path in document["paths"])
    assert "Takes <a href=#record-ScoreRequest><code>ScoreRequest</code></a>" in reply.text
    assert "<code>200</code> <a href=#record-AdvantagesResponse><code>AdvantagesResponse</code></a></li>" in reply.text
    assert "With <code>Accept: application/x-ndjson</code>, each trace is sent as soon as" in reply.text
    assert "`" not in reply.text
    anchors = set(re.findall(r"id=(record-[\w.-]+)", reply.text))
    assert anchors == {f"record-{name}" for name in document["components"]["schemas"]}
    assert set(re.findall(r"href=#(record-[\w.-]+)", reply.text)) <= anchors
    assert not re.search(r"<script|<link|<img|src=|@import", reply.text)
    assert (await live.http.get("/redoc")).headers["location"] == "docs"


async def test_the_page_needs_the_key_where_there_is_one() -> None:
    async with live_server(api_key="k") as live:
        for path in ("/docs", "/redoc"):
            assert (await live.http.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one line\nof two", "one line of two"),
        ("a paragraph\n\nand another", "a paragraph\n\nand another"),
        ("a list:\n- one\n    - two", "a list:\n- one\n    - two"),
        ("`a<b` & c", "<code>a&lt;b</code> &amp; c"),
    ],
)
def test_lines_that_were_broken_for_the_source_are_joined(text: str, shown: str) -> None:
    assert prose(text) == shown
