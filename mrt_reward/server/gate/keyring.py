"""Who holds which key, and what it opens."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """One caller who has a key.

    Attributes:
        name: that budgets and metrics have; None where many share the key and are distinguished by their addresses.
        digest: SHA-256 of the key.
        scopes: what it opens.

    """

    name: str | None
    digest: bytes
    scopes: frozenset[str]


class Keyring:
    """The keys that a port takes.

    Args:
        scope: that a key must have here.
        holders: of the keys, those of other scopes included, so that they get another answer than strangers.

    """

    def __init__(self, scope: str, holders: Sequence[Holder]) -> None:
        self.scope = scope
        self._holders = tuple(holders)

    def holder(self, key: bytes) -> Holder | None:
        """Who holds a key; all are compared, each in constant time, so that the time tells nothing of any."""
        digest = hashlib.sha256(key).digest()
        found = None
        for each in self._holders:
            if hmac.compare_digest(each.digest, digest):
                found = each
        return found
