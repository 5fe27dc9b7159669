"""A real Redis or Valkey server on loopback, for tests of what replicas share."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager

import pytest
import redis

PROGRAM = os.environ.get("REDIS_SERVER") or shutil.which("valkey-server") or shutil.which("redis-server")
needs_redis = pytest.mark.skipif(
    PROGRAM is None, reason="no valkey-server or redis-server: install one, or name it in REDIS_SERVER"
)


@contextmanager
def redis_server(port: int, *options: str) -> Generator[subprocess.Popen[bytes]]:
    """Start one that keeps nothing on disk, and kill it afterwards; it answers once this is entered."""
    assert PROGRAM is not None
    fixed = ("--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no", "--loglevel", "warning")
    process = subprocess.Popen([PROGRAM, *fixed, *options], stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(port=port)
        ends_at = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except redis.AuthenticationError:
                break
            except redis.ConnectionError:
                assert process.poll() is None, "it did not start"
                assert time.monotonic() < ends_at, "it does not answer"
                time.sleep(0.01)
        client.close()
        yield process
    finally:
        process.kill()
        process.wait()
