"""The certificate authorities that our HTTP clients trust."""

from __future__ import annotations

import os
import ssl
from functools import cache

import httpx


def certificates() -> ssl.SSLContext:
    """Those that httpx trusts, `SSL_CERT_FILE` and `SSL_CERT_DIR` included; read once for all clients of a process.

    Each client would read them by itself, which takes longer than many requests to a machine nearby.
    """
    return _read(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _read(file: str | None, folder: str | None) -> ssl.SSLContext:
    del file, folder  # which httpx reads from the environment itself
    return httpx.create_ssl_context()
