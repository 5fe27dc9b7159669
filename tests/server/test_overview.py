from __future__ import annotations

from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.overview import EDGES, MOST_ERRORS, Overview
from mrt_reward.service.queue import ProofQueue
from mrt_reward.types import Status
from tests.server.conftest import TRACE, Live, live_server, post


def overview() -> Overview:
    return Overview(ProofQueue(ScriptedProver([0.5])))


def test_progress_is_counted_by_bin_and_an_edge_belongs_to_the_bin_below() -> None:
    counts = overview()
    counts.count_trace(Status.OK, [-0.6, -0.02, 0.0, 0.02, 0.021, 1.0], None)
    reported = counts.report()
    assert [each.episodes for each in reported.progress] == [1, 0, 0, 1, 2, 1, 0, 0, 1]
    assert [
        reported.progress[0].low,
        reported.progress[0].high,
        reported.progress[-1].low,
        reported.progress[-1].high,
    ] == [
        None,
        EDGES[0],
        EDGES[-1],
        None,
    ]
    assert reported.traces == {"ok": 1, "partial": 0, "error": 0}


def test_errors_are_reported_newest_first_and_equal_ones_in_a_row_are_one() -> None:
    counts = overview()
    for code in (200, 503, 503, 401, 404, 429):
        counts.count_request("/v1/score", code)
    counts.count_trace(Status.ERROR, [], "no_thinking")
    reported = counts.report()
    assert [(each.where, each.code, each.count) for each in reported.errors] == [
        ("trace", "no_thinking", 1),
        ("/v1/score", "429", 1),
        ("/v1/score", "503", 2),
    ]
    assert all(each.seconds_ago >= 0 for each in reported.errors)
    assert reported.traces["error"] == 1


def test_so_many_errors_are_kept() -> None:
    counts = overview()
    for code in range(400, 400 + 3 * MOST_ERRORS):
        counts.count_request("/v1/score", code)
    assert [each.code for each in counts.report().errors][:1] == [str(399 + 3 * MOST_ERRORS)]
    assert len(counts.report().errors) == MOST_ERRORS


async def test_the_route_tells_what_the_server_gave_and_no_word_of_a_caller(live: Live) -> None:
    secret = {**TRACE, "id": "secret-id", "completion": "secret-text", "answer": None}
    scored = await post(live, "/v1/score", {"traces": [TRACE, secret]})
    code = scored.json()["traces"][1]["error"]["code"]
    assert (await live.http.post("/v1/score", json={"traces": "secret-body"})).status_code == 422
    reply = await live.http.get("/v1/overview")
    reported = reply.json()
    assert reported["traces"] == {"ok": 1, "partial": 0, "error": 1}
    # The values are 0.25, 0.5, 0.5 and 1.
    assert sum(each["episodes"] for each in reported["progress"]) == 3
    assert [(each["where"], each["code"]) for each in reported["errors"]] == [
        ("/v1/score", "422"),
        ("trace", code),
    ]
    assert reported["queued_tokens"] == reported["running"] == 0
    assert "secret" not in reply.text


async def test_the_route_needs_the_key() -> None:
    async with live_server(api_key="k") as live:
        assert (await live.http.get("/v1/overview")).status_code == 401
        reply = await live.http.get("/v1/overview", headers={"authorization": "Bearer k"})
        assert reply.json()["errors"] == []
