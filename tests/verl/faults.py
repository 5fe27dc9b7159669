"""A proxy before the real server that keeps some traces' replies past the caller's patience, and garbles another's."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np

from mrt_reward.training.records import Lapse

Asked = tuple[tuple[int, ...], tuple[int, ...]]
"""Tokens of a prompt and of a response, which say which trace it is: a short response may answer several prompts."""


@dataclass
class Faults:
    """What happens to which of the first traces; the rest is left alone until `garbling` is set.

    Attributes:
        url: of the real server.
        hold_s: how long late replies are kept.
        num_first: of so many traces, three of each ten are late; the one after them is garbled at every try. Samples
            that are alike are one trace here, and share its fate.
        done: what happened to each of these traces, in the order in which they came.
        garbling: set once every further reply is to be garbled.
        garbled: traces that were asked about from then on.
        beside_late: garbled traces that shared a request with a late one. Their line is lost among what is still to
            come, so that the caller waits for it until its time is up.

    """

    url: str
    hold_s: float
    num_first: int
    done: dict[Asked, Lapse | None] = field(default_factory=dict[Asked, "Lapse | None"])
    garbling: threading.Event = field(default_factory=threading.Event)
    garbled: set[Asked] = field(default_factory=set[Asked])
    beside_late: set[Asked] = field(default_factory=set[Asked])
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, asked: Asked) -> Lapse | None:
        """What happens to a trace: the same at each try, and to another sample of the same tokens."""
        with self._lock:
            if self.garbling.is_set():
                self.garbled.add(asked)
                return Lapse.MALFORMED
            if asked not in self.done:
                index = len(self.done)
                if index > self.num_first:
                    return None
                late = Lapse.TIMEOUT if index % 10 in (1, 4, 7) else None
                self.done[asked] = Lapse.MALFORMED if index == self.num_first else late
            return self.done[asked]

    def lost(self) -> dict[Asked, Lapse]:
        """Traces whose score never came, before all were garbled, and what their caller saw of it."""
        seen = {asked: Lapse.TIMEOUT if asked in self.beside_late else lapse for asked, lapse in self.done.items()}
        return {asked: lapse for asked, lapse in seen.items() if lapse is not None}

    def num_done(self) -> Counter[Lapse]:
        """How many traces were late, and how many garbled."""
        return Counter(lapse for lapse in self.done.values() if lapse is not None)

    def garbled_as(self) -> str:
        """What the caller saw of the trace that was garbled, by name."""
        [asked] = [asked for asked, lapse in self.done.items() if lapse is Lapse.MALFORMED]
        return self.lost()[asked].name.lower()


def _asked(trace: dict[str, Any]) -> Asked:
    prompt, response = (
        tuple(np.frombuffer(base64.b64decode(trace[name]), "<i4").tolist()) for name in ("prompt_ids", "completion_ids")
    )
    return prompt, response


class _Proxy(BaseHTTPRequestHandler):
    faults: Faults
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._forward(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = [_asked(trace) for trace in json.loads(body)["traces"]]
        lapses = [self.faults.fault(each) for each in asked]
        if Lapse.TIMEOUT in lapses:
            self.faults.beside_late.update(
                each for each, lapse in zip(asked, lapses, strict=True) if lapse is Lapse.MALFORMED
            )
        self._forward(body, lapses)

    def _forward(self, body: bytes, lapses: list[Lapse | None] | None = None) -> None:
        kept = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        late: list[str] = []
        try:
            with httpx.stream(
                self.command, self.faults.url + self.path, content=body, headers=kept, timeout=60
            ) as reply:
                self.send_response(reply.status_code)
                self.send_header("Content-Type", reply.headers["Content-Type"])
                self.end_headers()
                for line in reply.iter_lines():
                    fault = lapses[json.loads(line)["index"]] if lapses and reply.is_success else None
                    if fault is Lapse.TIMEOUT:
                        late.append(line)
                    else:
                        self._write(line[:20] if fault is Lapse.MALFORMED else line)
            if late and not self.faults.closing.wait(self.faults.hold_s):
                for line in late:
                    self._write(line)
        except (httpx.HTTPError, ConnectionError):
            # Whoever asked has given up, or the server is away: either way there is nobody to tell but the caller.
            self.close_connection = True

    def _write(self, line: str) -> None:
        self.wfile.write(line.encode() + b"\n")
        self.wfile.flush()

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def faulty(url: str, *, hold_s: float, num_first: int) -> Generator[tuple[str, Faults]]:
    """The proxy's own address, and what it has done."""
    faults = Faults(url, hold_s, num_first)
    handler = type("Proxy", (_Proxy,), {"faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        faults.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
