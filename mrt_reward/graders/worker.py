"""The process that grades: `python -m mrt_reward.graders.worker --grader math`.

A fork server: the process itself imports the grader once, never looks at untrusted text, and keeps one forked child
that does; a child that hangs, grows or dies is killed and replaced in milliseconds, without importing anything again.

    pool ──frames over stdin/stdout──▶ fork server ──frames over a socket──▶ child

Everything dies with the pool's process: the fork server at the end of its stdin, the child with the fork server.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NoReturn, TypeVar, cast

from mrt_reward.graders import frames
from mrt_reward.graders.judges import Judge, Loader, loader

Result = TypeVar("Result")

LOAD_TIMEOUT_S = 60.0
PATIENCE = 8
"""On a machine that is busy with other work an item may take this many times its limit, by the clock."""
_PR_SET_PDEATHSIG = 1
_MAX_REASON_CHARS = 300


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use.

    Attributes:
        timeout_s: of one item, in processor time of the child; by the clock it may be up to `PATIENCE` times as much.
        memory_mb: address space of the child, the interpreter and its libraries included.

    """

    timeout_s: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Raised:
    """What a stranger's code raised instead of giving anything."""

    error: BaseException

    @property
    def reason(self) -> str:
        """Kind and message; the exception is a stranger's, too."""
        message = attempted(lambda: str(self.error))
        return f"{type(self.error).__name__}: {'(no message)' if isinstance(message, Raised) else message}"


def attempted(work: Callable[[], Result]) -> Result | Raised:
    """What a stranger's code gives, or raises: nothing of that ends the child."""
    try:
        return work()
    except BaseException as error:  # noqa: BLE001 - a user's function may raise anything, SystemExit included
        return Raised(error)


def judged(judge: Judge, body: bytes) -> frames.Payload:
    """The reply to one item."""
    reply = attempted(lambda: {"status": "ok", **judge(frames.decode(body))})
    if not isinstance(reply, Raised):
        return reply
    if isinstance(reply.error, MemoryError):
        return {"status": "killed", "reason": "memory"}
    return {"status": "error", "reason": reply.reason[:_MAX_REASON_CHARS]}


def address_space_mb() -> float:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize() / 2**20


def cpu_s(pid: int) -> float:
    """Processor time of a child that was not waited for, so far."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), as Linux computes it


def lower_limit(kind: int, soft: int) -> None:
    """Set a soft limit, no higher than the hard one allows."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def child_loop(fd: int, load: Loader, limits: Limits) -> None:
    """Load the judge, say so, and answer items until the fork server closes the socket."""
    lower_limit(resource.RLIMIT_CORE, 0)
    lower_limit(resource.RLIMIT_AS, limits.memory_mb * 2**20)
    judge = attempted(load)
    if isinstance(judge, Raised):
        reason = f"the grader did not load: {judge.reason}"
        frames.write(fd, frames.encode({"status": "error", "reason": reason[:_MAX_REASON_CHARS]}))
        return
    frames.write(fd, frames.encode({"status": "ready"}))
    while (body := frames.read(fd)) is not None:
        # A backstop for a fork server that is stopped or starved: the kernel then ends a child that spins.
        lower_limit(resource.RLIMIT_CPU, ceil(time.process_time() + limits.timeout_s) + 2)
        reply = judged(judge, body)
        # An item must not leave so much behind that an innocent neighbour runs out of memory.
        retire = address_space_mb() > limits.memory_mb / 2
        frames.write(fd, frames.encode({**reply, "retire": retire}))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class ForkServer:
    """Forks a child that grades, and replaces it where it hangs, dies or grows too large."""

    def __init__(self, load: Loader, limits: Limits, channel: tuple[int, int]) -> None:
        self._load = load
        self._limits = limits
        self._channel = channel
        self._pid = 0
        self._socket: socket.socket | None = None

    def spawn(self) -> str | None:
        """Fork a child and wait until it is loaded; what went wrong, if anything."""
        ours, theirs = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._be_child(ours, theirs, parent)
        theirs.close()
        self._pid, self._socket = pid, ours
        loaded_by = time.monotonic() + LOAD_TIMEOUT_S
        reply = self._receive(lambda: loaded_by)
        if reply["status"] == "ready":
            return None
        self.kill()
        return str(reply["reason"])

    def _be_child(self, ours: socket.socket, theirs: socket.socket, parent: int) -> NoReturn:
        status = 1
        try:
            die_with_parent(parent)
            ours.close()
            for fd in self._channel:
                os.close(fd)
            child_loop(theirs.fileno(), self._load, self._limits)
            status = 0
        finally:
            os._exit(status)

    def judge(self, body: bytes) -> frames.Payload:
        """The child's reply to one item, or why there is none; the child is replaced when it is of no more use."""
        order, body = frames.split_order(body)
        if order.fresh:
            self.kill()
        if self._socket is None and (reason := self.spawn()) is not None:
            return {"status": "error", "reason": reason}
        deadline = self._deadline(order.limit_s)
        with contextlib.suppress(OSError):  # a child that died while idle shows when we read
            frames.write(cast("socket.socket", self._socket).fileno(), frames.HEADER.pack(len(body)) + body)
        reply = self._receive(deadline)
        if reply["status"] == "killed" or reply.get("retire"):
            self.kill()
        return reply

    def _deadline(self, limit_s: float | None) -> frames.Deadline:
        """When the child, which is asked now, has to be done: it must not be blamed for what others compute."""
        timeout_s = self._limits.timeout_s if limit_s is None else limit_s
        started, spent_s = time.monotonic(), cpu_s(self._pid)

        def deadline() -> float:
            now = time.monotonic()
            lacking_s = timeout_s - (cpu_s(self._pid) - spent_s)
            if now < started + timeout_s or lacking_s <= 0:
                return started + timeout_s
            return min(now + lacking_s, started + PATIENCE * timeout_s)

        return deadline

    def _receive(self, deadline: frames.Deadline) -> frames.Payload:
        ours = cast("socket.socket", self._socket)
        try:
            body = frames.read(ours.fileno(), deadline=deadline, hangup_fd=self._channel[0])
        except frames.FrameTimeout:
            self.kill()
            return {"status": "killed", "reason": "timeout"}
        if body is not None:
            return frames.decode(body)
        return {"status": "killed", "reason": death(self.kill())}

    def kill(self) -> int:
        """End the child now; its wait status."""
        if self._socket is None:
            return 0
        self._socket.close()
        self._socket = None
        # A child that ended by itself is still there to be waited for, so the id is its own.
        with contextlib.suppress(ProcessLookupError):
            done, status = os.waitpid(self._pid, os.WNOHANG)
            if done:
                return status
            time.sleep(0.001)  # its socket may close a moment before it can be waited for
            done, status = os.waitpid(self._pid, os.WNOHANG)
            if done:
                return status
            os.kill(self._pid, signal.SIGKILL)
        return os.waitpid(self._pid, 0)[1]


def death(status: int) -> str:
    """Why a child ended, from its wait status."""
    if not os.WIFSIGNALED(status):
        return "crash"
    number = os.WTERMSIG(status)
    # Nobody but the kernel, short of memory, sends SIGKILL to a child that we still want.
    return {signal.SIGXCPU: "timeout", signal.SIGKILL: "memory"}.get(signal.Signals(number), "crash")


def serve(fork_server: ForkServer, channel: tuple[int, int]) -> None:
    """Answer the pool's frames until it closes its end."""
    inlet, outlet = channel
    try:
        reason = fork_server.spawn()
        frames.write(outlet, frames.encode({"status": "error", "reason": reason} if reason else {"status": "ready"}))
        while reason is None and (body := frames.read(inlet)) is not None:
            frames.write(outlet, frames.encode(fork_server.judge(body)))
    except BrokenPipeError:
        return  # the pool is gone
    finally:
        fork_server.kill()


def claim_stdio() -> tuple[int, int]:
    """Private copies of stdin and stdout; what the grader prints goes to stderr instead."""
    channel = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return channel


def main(argv: Sequence[str] | None = None) -> None:
    """Run a worker process until its channel closes."""
    parser = argparse.ArgumentParser(prog="mrt_reward.graders.worker")
    parser.add_argument("--grader", required=True, help="math, or module:function")
    parser.add_argument("--timeout-s", type=float, required=True)
    parser.add_argument("--memory-mb", type=int, required=True)
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which then closes us
    channel = claim_stdio()
    limits = Limits(arguments.timeout_s, arguments.memory_mb)
    serve(ForkServer(loader(arguments.grader), limits, channel), channel)


if __name__ == "__main__":
    main(sys.argv[1:])
