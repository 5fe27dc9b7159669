"""Where the server listens, and how many descriptors that may take."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.server.gate.visitors import is_loopback
from mrt_reward.server.keyrings import admin_keyring, public_keyring

BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""

SPARE_DESCRIPTORS = 48
"""Left to files, workers and connections that are just being closed."""

MAX_DESCRIPTORS = 65_536

ADMIN_CONNECTIONS = 64


def refuse_open_addresses(settings: ServeSettings) -> None:
    """Nobody may let the network in without a key and not know it.

    Raises:
        ConfigError: an address is reached from elsewhere, there is no key for it, and `no_key` does not say so; or
            two keys are the same.

    """
    for host, keyring, what, variable in (
        (settings.host, public_keyring(settings), "host", "MRT_REWARD_API_KEY"),
        (settings.admin_host, admin_keyring(settings), "admin_host", "MRT_REWARD_ADMIN_KEY"),
    ):
        if keyring is None and not settings.no_key and not _stays_here(host):
            raise ConfigError(
                f"--{what.replace('_', '-')} {host}: other machines reach this address, and there is no key; set "
                f"{variable}, listen on 127.0.0.1, or say --no-key",
                param=what,
            )


def _stays_here(host: str) -> bool:
    if is_loopback(host) or not host:
        return bool(host)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return True  # Nothing can listen there, which `listening` tells.
    return all(is_loopback(str(address[0])) for *_, address in found)


def refuse_taken_ports(settings: ServeSettings) -> None:
    """Refuse ports that cannot be bound now, which is known before a model is loaded.

    Raises:
        ConfigError: an address is unavailable.

    """
    for host, port, what in (
        (settings.host, settings.port, "port"),
        (settings.admin_host, settings.admin_port, "admin_port"),
    ):
        listening(host, port, what).close()


def listening(host: str, port: int, what: str) -> socket.socket:
    """A socket that is bound, so that a taken port is known before anything starts.

    Connections that it accepts send small replies at once (TCP_NODELAY), which asyncio sees to for a socket that names
    its protocol. `::` takes IPv4 as well.

    Raises:
        ConfigError: the address is unavailable.

    """
    try:
        [(family, kind, _, _, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        sock = socket.socket(family, kind, socket.IPPROTO_TCP)
    except OSError as error:
        raise _unusable(host, port, what, error) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _unusable(host, port, what, error) from error
    return sock


def _unusable(host: str, port: int, what: str, error: OSError) -> ConfigError:
    flag = "--" + what.replace("_", "-")
    return ConfigError(f"cannot listen on {host}:{port} ({error}): choose another {what} ({flag})", param=what)


def connection_limits(settings: ServeSettings) -> tuple[int, int]:
    """Most connections of the public port and of the admin port, after more descriptors were asked of the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return settings.max_connections, ADMIN_CONNECTIONS
    workers = 4 * settings.grader_workers * len(settings.graders)
    room = max(16, soft - _num_open() - SPARE_DESCRIPTORS - workers)
    admin = min(ADMIN_CONNECTIONS, room // 4)
    return min(settings.max_connections, room - admin), admin


def _num_open() -> int:
    own = Path("/dev/fd")
    return len(os.listdir(own)) if own.is_dir() else 64  # noqa: PTH208 - names are enough, and counted
