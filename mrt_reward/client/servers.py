"""Which of several servers is asked: a group's own, whose cache holds its problem, or another while that is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from mrt_reward.affinity import ranked
from mrt_reward.errors import ConfigError

Route = tuple[int, ...]
"""Indices of all servers in the order in which they are tried."""

FIRST_AWAY_S = 1.0
LONGEST_AWAY_S = 30.0


class Servers:
    """Servers with one and the same prover, and which of them are left out at present.

    One that did not answer is left out for a second, then twice as long each time; once that is over, the next request
    that belongs there tries it.

    Args:
        urls: of them, such as `http://127.0.0.1:8000`.

    Raises:
        ValueError: there is none.
        ConfigError: one is no URL of a server.

    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(dict.fromkeys(_checked(url.strip().rstrip("/")) for url in urls))
        if not self.urls:
            raise ValueError("expected the URL of a server, or several, got none")
        self._until = [0.0] * len(self.urls)
        self._num_in_a_row = [0] * len(self.urls)

    def __str__(self) -> str:
        """All URLs, for messages."""
        return ", ".join(self.urls)

    def route(self, key: str) -> Route:
        """The order for a key, the same in every process; one server that goes moves its own keys only."""
        return (0,) if len(self.urls) == 1 else tuple(ranked(key, self.urls))

    def by_route(self, keys: Sequence[str]) -> Mapping[Route, list[int]]:
        """Indices of the keys by their route, in order."""
        indices: dict[Route, list[int]] = {}
        for index, key in enumerate(keys):
            indices.setdefault(self.route(key), []).append(index)
        return indices

    def chosen(self, route: Route) -> int:
        """The first that is not left out; where all are, the one that is tried again first."""
        now = _now()
        return next((index for index in route if self._until[index] <= now), min(route, key=lambda p: self._until[p]))

    def is_up(self, index: int) -> bool:
        """Whether it is not left out."""
        return self._until[index] <= _now()

    def leave_out(self, index: int, least_s: float) -> bool:
        """One did not answer, or said that it will not for `least_s` seconds; whether it was up until now."""
        if not self.is_up(index):
            return False  # Other requests were under way, and failed for the same reason.
        is_news = self._num_in_a_row[index] == 0
        away_s = min(LONGEST_AWAY_S, max(least_s, FIRST_AWAY_S * 2 ** self._num_in_a_row[index]))
        self._num_in_a_row[index] = min(self._num_in_a_row[index] + 1, 30)
        self._until[index] = _now() + away_s
        return is_news

    def answered(self, index: int) -> None:
        """Ask it as before."""
        self._num_in_a_row[index] = 0
        self._until[index] = 0.0


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        fixed = f": http://{url}?" if url and "://" not in url else ""
        raise ConfigError(f"expected the URL of a server, which begins with http:// or https://, got {url!r}{fixed}")
    if url.endswith("/v1"):
        raise ConfigError(f"expected the URL of a server, got {url}: leave /v1 out, which every call adds by itself")
    return url


def _now() -> float:
    return asyncio.get_running_loop().time()
