"""A server that is slow, or answers nonsense: the run goes on without progress, or stops and says why."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from mrt_reward.errors import ProverError
from tests.trl.policy import TEXT, Recorded, script, scripted_problems, scripted_server, steps_of, trainer


@contextmanager
def faulty_server(fault: str, prover: dict[str, Any]) -> Generator[str]:
    """Tells who proves; never scores."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(json.dumps(prover).encode())

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if fault == "slow":
                time.sleep(3)
            self.answer(b'{"traces": "none"}')

        def answer(self, body: bytes) -> None:
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # The caller has given up.

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def prover() -> dict[str, Any]:
    with scripted_server() as url:
        return dict(httpx.get(f"{url}/v1/prover").json())


def trained(folder: Path, url: str, **mrt: Any) -> Recorded:
    settings = {"timeout_s": 1.5, **mrt}
    wrong = TEXT.replace("42", "41")
    made = trainer(folder, url, settings, rollout_func=script(TEXT, wrong), train_dataset=scripted_problems())
    made.train()
    return made


@pytest.mark.parametrize(("fault", "lapse"), [("slow", "timeout"), ("malformed", "malformed")])
def test_progress_that_does_not_come_is_masked_and_counted(
    tmp_path: Path, prover: dict[str, Any], fault: str, lapse: str
) -> None:
    with faulty_server(fault, prover) as url:
        made = trained(tmp_path, url, max_failed_share=1.0)
    [step] = steps_of(made)
    assert step[f"mrt/failed/{lapse}"] == 4
    assert step["mrt/failed/share"] == 1
    assert not [name for name in step if name.startswith(("mrt/progress", "mrt/value"))]
    [batch] = made.kept
    assert batch.advantages.equal(batch.theirs_B[:, None].expand_as(batch.advantages))
    assert batch.theirs_B.any()


@pytest.mark.parametrize(("fault", "lapse"), [("slow", "timeout"), ("malformed", "malformed")])
def test_a_batch_without_progress_stops_the_run_and_says_why(
    tmp_path: Path, prover: dict[str, Any], fault: str, lapse: str
) -> None:
    with faulty_server(fault, prover) as url, pytest.raises(ProverError, match=rf"4 of 4 traces .*\(4 {lapse}\)"):
        trained(tmp_path, url)
