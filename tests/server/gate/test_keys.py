"""Who is let in by a key, and what who is not learns."""

from __future__ import annotations

import hashlib

import httpx
import pytest
from starlette.responses import PlainTextResponse

from mrt_reward.server.gate.keyring import Holder, Keyring
from mrt_reward.server.gate.keys import Key

RING = Keyring("score", [Holder("ann", hashlib.sha256(b"secret").digest(), frozenset({"score"}))])


async def answered(path: str, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {"authorization": authorization}
    transport = httpx.ASGITransport(Key(PlainTextResponse("in"), RING))
    async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as http:
        return await http.get(path)


@pytest.mark.parametrize(
    ("authorization", "said"),
    [
        (None, "no key came: send the API key as 'Authorization: Bearer KEY'"),
        ("Bearer wrong", "this key is not known"),
        ("Bearer ", "the header Authorization holds no key: send the API key as"),
        ("Basic secret", "the header Authorization holds no key: send the API key as"),
    ],
)
async def test_a_key_that_is_missing_wrong_or_none_is_refused_each_in_its_own_words(
    authorization: str | None, said: str
) -> None:
    refused = await answered("/v1/prover", authorization)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["error"]["message"].startswith(said)
    assert (await answered("/livez", authorization)).text == "in"


async def test_the_key_itself_opens() -> None:
    assert (await answered("/v1/prover", "Bearer secret")).text == "in"
