"""Latency of small requests on one kept-alive connection: a score from the cache, beside a probe that does nothing.

    python -m tests.bench.bench_latency [--requests 200]

The server is `mrt-reward serve` as a user starts it, with the bundled model, on loopback. Both are asked in turn, so
that what else the machine does meets them alike.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from tests.serving import Server

TRACE = {"id": "0", "problem": "6 * 7?", "answer": "42", "completion": "<think>\n6 * 7 = 42.\n</think>\\boxed{42}"}


def measured(url: str, num_requests: int) -> dict[str, list[float]]:
    """Seconds of each request, by what was asked."""
    with httpx.Client(base_url=url, timeout=120) as http:
        calls: dict[str, Callable[[], httpx.Response]] = {
            "GET /livez": lambda: http.get("/livez"),
            "cached POST /v1/score": lambda: http.post("/v1/score", json={"traces": [TRACE]}),
        }
        for call in calls.values():
            call().raise_for_status()
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(num_requests):
            for name, call in calls.items():
                began = time.perf_counter()
                call().raise_for_status()
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    num_requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as root:
        server = Server(Path(root))
        server.start()
        try:
            server.wait()
            for name, seconds in measured(server.url, num_requests).items():
                p99 = statistics.quantiles(seconds, n=100)[98]
                print(f"{name:24} p50 {statistics.median(seconds) * 1e3:6.2f} ms   p99 {p99 * 1e3:6.2f} ms")
        finally:
            server.kill()


if __name__ == "__main__":
    main()
