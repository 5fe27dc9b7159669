"""Who holds which key."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from mrt_reward.server.gate import keyring as module
from mrt_reward.server.gate.keyring import Holder, Keyring


def holder(key: str, name: str | None = None, *scopes: str) -> Holder:
    return Holder(name, hashlib.sha256(key.encode()).digest(), frozenset(scopes or ("score",)))


def test_a_key_finds_its_holder_and_no_other_finds_any() -> None:
    keyring = Keyring("score", [holder("one", "a"), holder("two", "b"), holder("three")])
    assert [keyring.holder(key) for key in (b"one", b"three")] == [holder("one", "a"), holder("three")]
    for key in (b"", b"on", b"one ", b"ONE", b"onetwo", hashlib.sha256(b"one").hexdigest().encode(), b"\xff"):
        assert keyring.holder(key) is None
    assert Keyring("score", []).holder(b"one") is None


@pytest.mark.parametrize("key", [b"first", b"last", b"none of them"])
def test_every_key_is_compared_in_constant_time_whichever_it_is(key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    compare = hmac.compare_digest

    def noted(ours: bytes, given: bytes) -> bool:
        compared.append(ours)
        assert len(ours) == len(given) == 32
        return compare(ours, given)

    holders = [holder("first"), holder("middle"), holder("last")]
    monkeypatch.setattr(module.hmac, "compare_digest", noted)
    Keyring("score", holders).holder(key)
    assert compared == [each.digest for each in holders]
