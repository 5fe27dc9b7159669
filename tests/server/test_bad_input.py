"""What bad input gets: a 4xx or an error of its own trace, with the field and the remedy; nothing else is harmed."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest

from tests.server.conftest import TRACE, Live, live_server, post


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        (b"", 422, "body"),
        (b"\xff\xfe\x00", 400, "not UTF-8"),
        (b'{"traces": "\xed\xa0\x80"}', 400, "not UTF-8"),
        (b"[" * 100_000, 400, "deeper"),
        (
            b'{"traces": [{"id": "x", "problem": "q", "metadata": {"m": ' + b"[" * 70 + b"]" * 70 + b"}}]}",
            400,
            "deeper",
        ),
        (b'{"traces": [], "n": ' + b"9" * 5000 + b"}", 400, "not JSON"),
        (b'{"traces": []}', 422, "traces"),
        (b'{"traces": [{"id": "x", "problem": "q", "completion": "\\ud800"}]}', 400, "surrogate"),
        (b'{"traces": [{"id": "x", "problem": "q", "completion": "c", "outcome": NaN}]}', 400, "NaN"),
        (b'{"traces": [{"id": "x", "problem": "q", "completion": "c", "metadata": {"x": 1e999}}]}', 400, "too large"),
        (
            b'{"traces": [{"id": "x", "problem": "q", "completion": "c"}], "options": {"grader": "nobody"}}',
            422,
            "nobody",
        ),
        (
            b'{"traces": [{"id": "x", "problem": "q"}], "options": {"estimator": {"kind": "guess"}}}',
            422,
            "options.estimator.kind: expected one of likelihood, rollouts, got 'guess'",
        ),
        (
            b'{"traces": [{"id": "x", "problem": "q"}], "options": {"estimator": {"kind": "rollout"}}}',
            422,
            "got 'rollout'; did you mean 'rollouts'?",
        ),
        (
            b'{"traces": [{"id": "x", "problem": "q"}], "options": {"segmentor": "markers"}}',
            422,
            "options.segmentor: this field is unknown; did you mean 'segmenter'?",
        ),
    ],
)
async def test_bad_input_is_reported_with_its_field_and_harms_nobody(
    live: Live, content: bytes, status: int, message: str
) -> None:
    reply = await live.http.post("/v1/score", content=content, headers={"content-type": "application/json"})
    assert (reply.status_code, message in reply.text) == (status, True), reply.text
    assert set(reply.json()["error"]) == {"message", "type", "code", "param"}
    assert (await post(live, "/v1/score", {"traces": [TRACE]})).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"problem": None}, "invalid_trace", "problem"),
        ({"prompt": "again"}, "invalid_trace", "prompt"),
        ({"completion": None}, "invalid_trace", "completion"),
        ({"problem": None, "prompt_ids": ""}, "invalid_trace", "prompt_ids"),
        ({"completion": "no thinking", "problem": None, "prompt": "Q"}, "no_thinking", "completion"),
        ({"completion": ""}, None, None),
        ({"completion": "<think>a<think>b</think>c</think>d"}, None, None),
        ({"answer": None}, "invalid_trace", "answer"),
        ({"answer": []}, "invalid_trace", "answer"),
        ({"problem": None, "prompt_ids": "AAAAAA=="}, "tokenizer_mismatch", "prompt_ids"),
        ({"id": "good"}, "duplicate_id", "id"),
    ],
)
async def test_a_bad_trace_gets_its_own_error(
    live: Live, changes: dict[str, Any], code: str | None, param: str | None
) -> None:
    bad = {**TRACE, **changes}
    reply = await post(live, "/v1/score", {"traces": [{**TRACE, "id": "good"}, bad]})
    good, reported = reply.json()["traces"]
    assert good["status"] == "ok"
    assert reported["id"] == bad["id"]
    if code is not None:
        assert (reported["status"], reported["error"]["code"], reported["error"]["param"]) == ("error", code, param)


BROKEN: list[tuple[dict[str, Any], str, str]] = [
    (
        {"estimator": {"kind": "rollouts"}},
        "estimator",
        "an option of scoring, not a field of a trace: give it as option",
    ),
    ({"num_samples": 4}, "num_samples", "options.estimator.num_samples beside the traces, or in the --options of a c"),
    ({"answer": [None]}, "answer", "got null"),
    ({"answer": {"value": 42}}, "answer", "got dict"),
    ({"answer": True}, "answer", "got bool"),
    ({"answer": ["4" * 10_001]}, "answer", "at most 10000"),
    ({"id": None}, "id", "got null"),
    ({"id": ""}, "id", "at least 1 character"),
    ({"id": "x" * 501}, "id", "at most 500"),
    ({"id": 7.5}, "id", "got 7.5"),
    ({"id": True}, "id", "got true"),
    ({"problem": 1}, "problem", "expected a valid string, got 1"),
    ({"messages": [{"role": "user", "content": None}], "problem": None}, "messages.0.content", "got null"),
    ({"messages": "hello", "problem": None}, "messages", 'got "hello"'),
    ({"completion": ["a"]}, "completion", 'got ["a"]'),
    ({"completion_ids": "AAA"}, "completion_ids", 'base64 of little-endian int32, got "AAA"'),
    ({"prompt_ids": [1, 2.5], "problem": None}, "prompt_ids", "got 2.5 at index 1"),
    ({"prompt_ids": [1, True], "problem": None}, "prompt_ids", "got True at index 1"),
    ({"prompt_ids": [1, "2"], "problem": None}, "prompt_ids", "got '2' at index 1"),
    ({"prompt_ids": [1, -2], "problem": None}, "prompt_ids", "got -2 to 1"),
    ({"completion_ids": [2**31]}, "completion_ids", "expected numbers from 0 to 2147483647"),
    ({"completion_ids": {"0": 1}}, "completion_ids", "got dict"),
    ({"tokenizer": 5}, "tokenizer", "got 5"),
    ({"group": 3}, "group", "got 3"),
    ({"outcome": "good"}, "outcome", 'got "good"'),
    ({"outcome": 1e9}, "outcome", "less than or equal to 1000000"),
    ({"episode_starts": [0, "x"]}, "episode_starts.1", 'got "x"'),
    ({"episodes": [0, 5]}, "episodes", "this field is episode_starts now"),
    ({"metadata": [1]}, "metadata", "got [1]"),
    ({"level": 3}, "level", "this field is unknown: expected one of id, completion, problem,"),
    ({"ground_truth": "42"}, "ground_truth", "this field is unknown; did you mean 'answer'?"),
    ({"probelm": "q"}, "probelm", "this field is unknown; did you mean 'problem'?"),
    ({"messages": [{"rol": "user", "content": "a"}], "problem": None}, "messages.0.role", "did you write 'rol' for it"),
]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/episodes", "/v1/advantages"])
@pytest.mark.parametrize(("changes", "param", "message"), BROKEN)
async def test_a_trace_that_breaks_the_schema_gets_an_error_of_its_own(
    live: Live, path: str, changes: dict[str, Any], param: str, message: str
) -> None:
    traces = [{**TRACE, "id": "good"}, {**TRACE, "id": "bad", "metadata": {"row": 3}, **changes}]
    grouped = path == "/v1/advantages"
    reply = await post(live, path, {"groups": [{"traces": traces}]} if grouped else {"traces": traces})
    assert reply.status_code == 200
    good, bad = reply.json()["groups"][0] if grouped else reply.json()["traces"]
    if grouped:
        # Alone in its group now, so that it keeps its raw reward; the other is masked.
        assert (good["outcome_advantage"], bad["outcome_advantage"], bad["scored"]) == (1.0, None, False)
        good, bad = good["trace"], bad["trace"]
    assert good["error"] is None
    assert (bad["error"]["code"], bad["error"]["param"]) == ("invalid_trace", param)
    assert bad["error"]["message"].startswith(f"{param}: ")
    assert message in bad["error"]["message"]
    if path != "/v1/episodes":
        assert (bad["status"], bad["outcome"], bad["values"]) == ("error", None, [])
        assert bad["metadata"] == ({"row": 3} if param != "metadata" else {})


@pytest.mark.parametrize("bad", [None, 7, "text", [], [1], {}, {"problem": "q", "completion": "c"}])
async def test_what_is_no_trace_at_all_gets_its_error_where_it_stood(live: Live, bad: object) -> None:
    body = {"traces": [bad, {**TRACE, "id": "good"}, bad]}
    first, good, last = (await post(live, "/v1/score", body)).json()["traces"]
    assert good["status"] == "ok"
    assert {message["error"]["code"] for message in (first, last)} == {"invalid_trace"}
    assert {message["id"] for message in (first, last)} == {""}
    lines = (await post(live, "/v1/score", body, accept="application/x-ndjson")).text.splitlines()
    assert sorted(json.loads(line)["index"] for line in lines) == [0, 1, 2]


async def test_an_id_that_is_a_number_is_its_text(live: Live) -> None:
    [seven, again] = (await post(live, "/v1/score", {"traces": [{**TRACE, "id": 7}, {**TRACE, "id": "7"}]})).json()[
        "traces"
    ]
    assert (seven["id"], seven["status"]) == ("7", "ok")
    assert again["error"]["code"] == "duplicate_id"


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        ({"id": "bad", "outcome": "x", "values": []}, "outcome"),
        ({"id": "bad", "outcome": 1.0, "values": [0.1, 2.0]}, "values.1.value"),
        ({"id": "bad", "outcome": 1.0, "values": [0.1], "token_ends": "AAA"}, "token_ends"),
        ({"id": "bad", "outcome": 1.0, "values": [0.1, True]}, "values.1"),
        ({"id": "bad", "outcome": 1.0, "values": [{"value": 0.1, "worth": 1}]}, "values.0.worth"),
        ({"id": "bad", "values": [0.1]}, "outcome"),
        ({"outcome": 1.0, "values": [0.1]}, "id"),
        (None, None),
        ({"id": "c", "outcome": 1.0, "status": "ok"}, "values"),
        ({"id": "c", "outcome": 1.0, "values": "abc"}, "values"),
        ({"id": "c", "outcome": 1.0, "values": {"a": 1}}, "values"),
    ],
)
async def test_a_scored_trace_that_breaks_the_schema_is_masked_alone(
    live: Live, bad: object, param: str | None
) -> None:
    sound = [{"id": "a", "outcome": 1.0, "values": [0.2, 0.4]}, {"id": "b", "outcome": 0.0, "values": [0.2, 0.1]}]
    alone = (await post(live, "/v1/advantages", {"groups": [{"traces": sound}]})).json()["groups"][0]
    beside = (await post(live, "/v1/advantages", {"groups": [{"traces": [*sound, bad]}]})).json()["groups"][0]
    assert beside[:2] == alone
    assert (beside[2]["outcome_advantage"], beside[2]["error"]["code"], beside[2]["error"]["param"]) == (
        None,
        "invalid_trace",
        param,
    )


async def test_token_ends_that_are_no_base64_are_reported_at_their_trace(live: Live) -> None:
    group = {"traces": [TRACE, {**TRACE, "id": "u"}], "token_ends": ["AAAAAA==", 5]}
    [[good, bad]] = (await post(live, "/v1/advantages", {"groups": [group], "per_token": True})).json()["groups"]
    assert good["token_advantages"] is not None or good["error"]["param"] != "token_ends"
    assert bad["error"]["param"] == "token_ends"


async def test_more_token_ends_than_traces_are_refused_because_nobody_knows_whose_they_are(live: Live) -> None:
    group = {"traces": [TRACE], "token_ends": ["AAAAAA==", "AAAAAA=="]}
    reply = await post(live, "/v1/advantages", {"groups": [{"traces": [TRACE]}, group]})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "groups.1.token_ends")
    assert "expected one for each of the 1 traces, got 2" in reply.json()["error"]["message"]


async def test_a_wrong_way_of_asking_for_advantages_of_tokens_is_refused_with_the_right_ones(live: Live) -> None:
    reply = await post(live, "/v1/advantages", {"groups": [{"traces": [TRACE]}], "per_token": "bytes"})
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (422, "per_token")
    assert "expected one of False, True, base64, list, got 'bytes'" in error["message"]


async def test_offsets_outside_the_text_are_reported(live: Live) -> None:
    body = {"traces": [{**TRACE, "episode_starts": [0, 10_000]}], "options": {"segmenter": {"kind": "explicit"}}}
    for path in ("/v1/score", "/v1/episodes"):
        [trace] = (await post(live, path, body)).json()["traces"]
        assert trace["error"]["param"] == "episode_starts"


async def test_a_body_must_be_json_by_name(live: Live) -> None:
    reply = await live.http.post("/v1/score", content=b"{}", headers={"content-type": "text/plain"})
    assert reply.status_code == 415
    assert "application/json" in reply.json()["error"]["message"]


@pytest.mark.parametrize("headers", [{"x-deadline-ms": "0"}, {"x-deadline-ms": "1e3"}, {"idempotency-key": "k" * 300}])
async def test_bad_headers_get_400(live: Live, headers: dict[str, str]) -> None:
    reply = await live.http.post("/v1/score", json={"traces": [TRACE]}, headers=headers)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == next(iter(headers))


async def _raw(live: Live, *chunks: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(live.url.rsplit(":", 1)[1]))
    for chunk in chunks:
        writer.write(chunk)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(400), 5)
    writer.close()
    await writer.wait_closed()
    return answer


HEAD = b"POST /v1/score HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


async def test_a_declared_length_over_the_limit_is_refused_before_it_is_sent(live: Live) -> None:
    assert b" 413 " in await _raw(live, HEAD + b"content-length: 1000000000\r\n\r\n")


async def test_chunks_are_counted_too() -> None:
    async with live_server(max_body_mb=0.001) as live:
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        assert b" 413 " in await _raw(live, HEAD + b"transfer-encoding: chunked\r\n\r\n", chunk, chunk)


async def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async with live_server(default_deadline_s=0.2) as live:
        assert b" 408 " in await _raw(live, HEAD + b"content-length: 10\r\n\r\n{")


async def test_a_cut_or_doubled_gzip_stream_is_refused(live: Live) -> None:
    whole = gzip.compress(json.dumps({"traces": [TRACE]}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    for body in (whole[:-4], whole + whole):
        reply = await live.http.post("/v1/score", content=body, headers=headers)
        assert (reply.status_code, "gzip" in reply.text) == (400, True)


async def test_unknown_routes_and_methods_have_the_same_shape(live: Live) -> None:
    for reply in (await live.http.get("/nowhere"), await live.http.get("/v1/score")):
        assert reply.json()["error"]["type"] == "HTTPError"
        assert reply.headers["x-request-id"]
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["error"]["message"] == "GET does not go with this route: send POST"


async def test_the_body_is_bounded_also_when_compressed() -> None:
    async with live_server(max_body_mb=0.01) as live:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        assert (await live.http.post("/v1/score", content=b" " * 20_000)).status_code == 413
        bomb = gzip.compress(b" " * 50_000_000)
        assert (await live.http.post("/v1/score", content=bomb, headers=headers)).status_code == 413
        small = gzip.compress(json.dumps({"traces": [TRACE]}).encode())
        assert (await live.http.post("/v1/score", content=small, headers=headers)).status_code == 200
        assert (await live.http.post("/v1/score", content=b"x", headers=headers)).status_code == 400
        headers["content-encoding"] = "br"
        assert (await live.http.post("/v1/score", content=b"x", headers=headers)).status_code == 415
