"""The keys of each port, from the settings."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from mrt_reward.config import Scope, ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.server.gate.keyring import Holder, Keyring


def public_keyring(settings: ServeSettings) -> Keyring | None:
    """Keys of the public port; None where it asks for none."""
    asks = settings.api_key is not None or bool(settings.keys)
    return Keyring("score", _holders(settings)) if asks else None


def admin_keyring(settings: ServeSettings) -> Keyring | None:
    """Keys of the admin port; None where neither port asks for any.

    Where callers need a key and none has scope admin, nobody may ask the admin routes.
    """
    asks = settings.plain_admin_key is not None or bool(settings.keys)
    return Keyring("admin", _holders(settings)) if asks else None


def _holders(settings: ServeSettings) -> list[Holder]:
    """All keys. The API key opens the admin routes too, unless there is a key for them."""
    holders = [
        Holder(name, bytes.fromhex(key.sha256), frozenset[str](key.scopes)) for name, key in settings.keys.items()
    ]
    if settings.admin_key is not None:
        holders.append(_shared(settings.admin_key.get_secret_value(), "admin"))
    has_admin = any("admin" in holder.scopes for holder in holders)
    if settings.api_key is not None:
        opens: tuple[Scope, ...] = ("score",) if has_admin else ("score", "admin")
        holders.append(_shared(settings.api_key.get_secret_value(), *opens))
    return _joined(holders)


def _shared(key: str, *scopes: Scope) -> Holder:
    """One of the two keys that have no holder's name."""
    return Holder(None, hashlib.sha256(key.encode()).digest(), frozenset[str](scopes))


def _joined(holders: list[Holder]) -> list[Holder]:
    """One holder for each key: the same one for both ports opens both.

    Raises:
        ConfigError: a key has two names, so that it would not be known whose a request is.

    """
    by_digest: dict[bytes, Holder] = {}
    for holder in holders:
        other = by_digest.get(holder.digest)
        if other is None:
            by_digest[holder.digest] = holder
        elif other.name is None and holder.name is None:
            by_digest[holder.digest] = replace(other, scopes=other.scopes | holder.scopes)
        else:
            same = holder.name or "MRT_REWARD_API_KEY or MRT_REWARD_ADMIN_KEY"
            raise ConfigError(
                f"keys: {other.name} is the same key as {same}: give each holder a key of their own",
                param="keys",
            )
    return list(by_digest.values())
