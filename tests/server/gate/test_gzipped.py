"""Gzipped bodies, inflated while they arrive."""

from __future__ import annotations

import gzip
import json

import pytest
from starlette.types import Receive

from mrt_reward.server.gate.gzipped import Inflating
from mrt_reward.server.gate.replies import RequestRefused
from mrt_reward.server.gate.scan import PIECE_BYTES
from tests.server.gate.sending import Receiving

TEXT = json.dumps(["a, b"] * 100_000).encode()


async def _whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body


def _cut(packed: bytes, size: int) -> Receiving:
    return Receiving(*(packed[start : start + size] for start in range(0, len(packed), size)))


@pytest.mark.parametrize("size", [1, 7, 1_000, 1_000_000])
async def test_a_body_is_whole_whatever_its_pieces(size: int) -> None:
    text = TEXT[:300] if size == 1 else TEXT
    assert await _whole(Inflating(_cut(gzip.compress(text), size))) == text


async def test_an_empty_body_is_empty() -> None:
    assert await _whole(Inflating(Receiving(b""))) == b""


async def test_a_bomb_is_inflated_no_further_than_somebody_asks() -> None:
    inflating = Inflating(Receiving(gzip.compress(b" " * 50_000_000)))
    for _ in range(3):
        message = await inflating()
        assert (len(message["body"]), message["more_body"]) == (PIECE_BYTES, True)


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(TEXT)[:-4], gzip.compress(TEXT) * 2, gzip.compress(TEXT) + b"x", b"x", gzip.compress(TEXT)[:5]],
    ids=["cut", "twice", "more", "plain", "head"],
)
@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_what_is_not_one_whole_stream_is_refused(packed: bytes, size: int) -> None:
    with pytest.raises(RequestRefused) as refused:
        await _whole(Inflating(_cut(packed, size)))
    assert refused.value.status_code == 400
    assert "gzip" in refused.value.detail


async def test_a_caller_who_leaves_is_noticed_in_the_middle_and_after_the_body() -> None:
    packed = gzip.compress(TEXT)
    gone = Receiving(packed[:100], leaves=True)
    inflating = Inflating(gone)
    await inflating()
    assert (await inflating())["type"] == "http.disconnect"
    whole = Inflating(Receiving(packed[:100], packed[100:]))
    assert await _whole(whole) == TEXT
    whole._receive = Receiving(leaves=True)
    assert (await whole())["type"] == "http.disconnect"
