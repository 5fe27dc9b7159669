"""The worker's code, called in this process; as a process it is tested with the pool."""

from __future__ import annotations

import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from mrt_reward.graders import frames, worker
from mrt_reward.graders.judges import Judge
from mrt_reward.graders.worker import PATIENCE, ForkServer, Limits, child_loop, death, judged, serve


def echo(payload: Mapping[str, object]) -> frames.Payload:
    """Does to itself what the item says."""
    what = payload["do"]
    if what == "hang":
        time.sleep(60)
    if what == "spin":
        while True:
            pass
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "work":  # for half a second, with the processor taken away in between
        compute(0.25)
        os.kill(os.getpid(), signal.SIGSTOP)
        compute(0.25)
    if what == "die":
        os._exit(3)
    if what == "memory":
        raise MemoryError
    if what == "mute":
        raise MuteError
    if what == "exit":
        raise SystemExit(1)
    return {"did": what}


def compute(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no message for you")


def load() -> Judge:
    return echo


def body(do: str) -> bytes:
    return frames.encode({"do": do})[frames.HEADER.size :]


LIMITS = Limits(timeout_s=5.0, memory_mb=1 << 16)


@pytest.fixture
def channel() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_whatever_a_judge_raises_becomes_a_reply() -> None:
    assert judged(echo, body("x")) == {"status": "ok", "did": "x"}
    assert judged(echo, body("memory")) == {"status": "killed", "reason": "memory"}
    assert judged(echo, body("exit")) == {"status": "error", "reason": "SystemExit: 1"}
    assert judged(echo, body("mute")) == {"status": "error", "reason": "MuteError: (no message)"}


def test_a_child_says_that_it_is_ready_and_answers_until_its_socket_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "lower_limit", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.write(ours.fileno(), frames.encode({"do": "a"}) + frames.encode({"do": "b"}))
        ours.shutdown(socket.SHUT_WR)
        child_loop(theirs.fileno(), load, LIMITS)
        replies = [frames.decode(frames.read(ours.fileno()) or b"{}") for _ in range(3)]
    assert replies[0] == {"status": "ready"}
    assert [reply["did"] for reply in replies[1:]] == ["a", "b"]
    assert replies[1]["retire"] is False


def test_a_judge_that_does_not_load_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "lower_limit", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType]

    def broken() -> Judge:
        raise ImportError("no such thing")

    ours, theirs = socket.socketpair()
    with ours, theirs:
        child_loop(theirs.fileno(), broken, LIMITS)
        reply = frames.decode(frames.read(ours.fileno()) or b"{}")
    assert reply == {"status": "error", "reason": "the grader did not load: ImportError: no such thing"}


def test_a_limit_is_lowered_no_further_than_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: calls.append((kind, pair)))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5, 10))  # pyright: ignore[reportUnknownLambdaType]
    worker.lower_limit(resource.RLIMIT_CORE, 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (5, resource.RLIM_INFINITY))  # pyright: ignore[reportUnknownLambdaType]
    worker.lower_limit(resource.RLIMIT_CORE, 20)
    assert calls == [(resource.RLIMIT_CORE, (10, 10)), (resource.RLIMIT_CORE, (20, resource.RLIM_INFINITY))]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (0, "crash"),
        (3 << 8, "crash"),
        (signal.SIGXCPU, "timeout"),
        (signal.SIGKILL, "memory"),
        (signal.SIGSEGV, "crash"),
    ],
)
def test_a_wait_status_says_why_a_child_ended(status: int, reason: str) -> None:
    assert death(int(status)) == reason


def test_a_fork_server_replaces_children_that_hang_die_or_run_out_of_memory(channel: tuple[int, int]) -> None:
    fork_server = ForkServer(load, Limits(timeout_s=0.2, memory_mb=1 << 16), channel)
    assert fork_server.spawn() is None
    try:
        assert fork_server.judge(body("a"))["did"] == "a"
        assert fork_server.judge(body("hang")) == {"status": "killed", "reason": "timeout"}
        assert fork_server.judge(body("die")) == {"status": "killed", "reason": "crash"}
        assert fork_server.judge(body("memory"))["reason"] == "memory"
        assert fork_server.judge(body("b"))["did"] == "b"
    finally:
        fork_server.kill()
    assert fork_server.kill() == 0


def test_a_child_is_not_blamed_for_a_machine_that_has_no_time_for_it(channel: tuple[int, int]) -> None:
    limit_s = 0.3
    fork_server = ForkServer(load, Limits(timeout_s=limit_s, memory_mb=1 << 16), channel)
    assert fork_server.spawn() is None
    waiting = threading.Timer(3 * limit_s, os.kill, (fork_server._pid, signal.SIGCONT))
    try:
        waiting.start()
        assert fork_server.judge(body("stop")) == {"status": "ok", "did": "stop", "retire": False}
        assert waiting.finished.is_set()
        # What sleeps may be waiting for its time; what computes has had it.
        start = time.monotonic()
        assert fork_server.judge(body("hang")) == {"status": "killed", "reason": "timeout"}
        assert time.monotonic() - start >= PATIENCE * limit_s
        spent_s = os.times().children_user
        assert fork_server.judge(body("spin")) == {"status": "killed", "reason": "timeout"}
        assert 0.1 * limit_s <= os.times().children_user - spent_s < PATIENCE * limit_s
    finally:
        waiting.cancel()
        fork_server.kill()


def test_a_child_may_compute_for_its_whole_limit_however_long_that_takes(channel: tuple[int, int]) -> None:
    limit_s = 1.0
    fork_server = ForkServer(load, Limits(timeout_s=limit_s, memory_mb=1 << 16), channel)
    assert fork_server.spawn() is None
    waiting = threading.Timer(3 * limit_s, os.kill, (fork_server._pid, signal.SIGCONT))
    try:
        waiting.start()
        # It had a quarter of its time when the limit was over by the clock.
        assert fork_server.judge(body("work")) == {"status": "ok", "did": "work", "retire": False}
        assert waiting.finished.is_set()
    finally:
        waiting.cancel()
        fork_server.kill()


def test_a_child_that_grew_is_replaced_after_it_answered(channel: tuple[int, int]) -> None:
    # One MB of address space is less than any Python has, so half of it is always passed; the limit itself is not set
    # low enough to stop the child from answering because it is only applied to new memory.
    fork_server = ForkServer(load, Limits(timeout_s=5.0, memory_mb=int(worker.address_space_mb() * 1.5)), channel)
    assert fork_server.spawn() is None
    reply = fork_server.judge(body("a"))
    assert (reply["did"], reply["retire"]) == ("a", True)
    assert fork_server.kill() == 0


class Unforked(ForkServer):
    """Judges in this process; a forked child would hold the pipes of the test."""

    def spawn(self) -> str | None:
        return None

    def judge(self, body: bytes) -> frames.Payload:
        return judged(echo, body)


def test_serving_ends_when_the_pool_hangs_up() -> None:
    inlet, ours_out = os.pipe()
    ours_in, outlet = os.pipe()
    frames.write(ours_out, frames.encode({"do": "a"}))
    os.close(ours_out)
    serve(Unforked(load, LIMITS, (inlet, outlet)), (inlet, outlet))
    assert frames.decode(frames.read(ours_in) or b"{}") == {"status": "ready"}
    assert frames.decode(frames.read(ours_in) or b"{}")["did"] == "a"
    for fd in (inlet, ours_in, outlet):
        os.close(fd)


def test_a_fork_server_whose_child_does_not_load_says_so_and_ends() -> None:
    inlet, ours_out = os.pipe()
    ours_in, outlet = os.pipe()

    def broken() -> Judge:
        raise ImportError("no such thing")

    fork_server = ForkServer(broken, LIMITS, (inlet, outlet))
    serve(fork_server, (inlet, outlet))
    assert "no such thing" in str(frames.decode(frames.read(ours_in) or b"{}")["reason"])
    assert "no such thing" in str(fork_server.judge(body("a"))["reason"])
    os.close(ours_in)
    serve(fork_server, (inlet, outlet))  # nobody reads any more
    for fd in (inlet, ours_out, outlet):
        os.close(fd)


def test_main_wires_the_grader_to_stdin_and_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[int, int]] = []
    monkeypatch.setattr(worker, "claim_stdio", lambda: (90, 91))
    monkeypatch.setattr(worker, "serve", lambda _, channel: served.append(channel))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    handler = signal.getsignal(signal.SIGINT)
    try:
        worker.main(["--grader", "tests.graders.functions:equal", "--timeout-s", "1", "--memory-mb", "512"])
    finally:
        signal.signal(signal.SIGINT, handler)
    assert served == [(90, 91)]
