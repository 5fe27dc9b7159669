"""Values on a Redis or Valkey server, which all replicas share: what one proved, none proves again."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mrt_reward.engine_settings import origin_of
from mrt_reward.errors import ConfigError, StoreUnavailable
from mrt_reward.service.outage import FIRST_AWAY_S
from mrt_reward.service.records import Key
from mrt_reward.service.store import ValueStore
from mrt_reward.version import __version__

CONNECT_S = 1.0
ANSWER_S = 1.5
"""Shorter than a reply waits for its values, so that the next one finds a free connection."""

NAMESPACE = f"mrt-reward:{__version__}:".encode()
"""Before each key: servers of another release, whose values may mean something else, find none of ours."""


class RedisRecords:
    """Records by key on one server, which bounds its memory itself (`maxmemory`, `allkeys-lru`).

    Args:
        url: `redis://`, `rediss://` for TLS, or `unix://`, with user, password and number of the database where needed.

    Raises:
        ConfigError: it is no such URL.
        StoreUnavailable: from every method: the server is away, full, or refuses us. No message holds the password.

    """

    max_batch_bytes = 1_000_000
    max_batch_rows = 500

    def __init__(self, url: str) -> None:
        self.where = origin_of(url)
        # A connection that the server closed while it was idle is opened once more; nothing else is tried twice.
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        try:
            # Loosely typed, because each reply of the client's methods is also a promise of its asynchronous twin.
            self._client: Any = redis.Redis.from_url(
                url, socket_connect_timeout=CONNECT_S, socket_timeout=ANSWER_S, retry=retry, decode_responses=False
            )
        except ValueError as error:
            raise ConfigError(
                f"cache_url: expected redis://HOST:PORT/DB, rediss:// or unix://, got {self.where}", param="cache_url"
            ) from error

    def read(self, keys: Sequence[Key]) -> dict[Key, object]:
        """The records that are there, as they are; without keys, the server is greeted."""
        with self._reached() as client:
            if not keys:
                client.ping()
                return {}
            records = client.mget([NAMESPACE + key for key in keys])
        return {key: record for key, record in zip(keys, records, strict=True) if record is not None}

    def write(self, records: Mapping[Key, bytes]) -> None:
        """Add records, all or none."""
        if records:
            with self._reached() as client:
                client.mset({NAMESPACE + key: record for key, record in records.items()})

    def clear(self) -> None:
        """Delete all records of this release, and nothing else that the server keeps."""
        with self._reached() as client:
            cursor: int | None = None
            while cursor != 0:
                cursor, names = client.scan(cursor or 0, match=NAMESPACE + b"*", count=self.max_batch_rows)
                if names:
                    client.unlink(*names)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    @contextmanager
    def _reached(self) -> Generator[Any]:
        try:
            yield self._client
        except redis.RedisError as error:
            raise StoreUnavailable(f"{self.where}: {type(error).__name__}: {error}") from error


class RedisStore(ValueStore):
    """Values on a Redis or Valkey server.

    Args:
        url: of it; see `RedisRecords`.
        first_away_s: how long it is left out after a first fault.

    Raises:
        ConfigError: it is no URL of such a server. One that is away is no reason: it is used once it is there.

    """

    def __init__(self, url: str, *, first_away_s: float = FIRST_AWAY_S) -> None:
        super().__init__(RedisRecords(url), first_away_s=first_away_s)
