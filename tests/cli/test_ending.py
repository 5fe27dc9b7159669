from __future__ import annotations

import subprocess
import sys

STUCK = """
import asyncio, sys, threading, time
from mrt_reward.cli import ending

ending.GRACE_S = 0.2

async def main():
    for _ in range(3):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    threading.Thread(target=time.sleep, args=(3600,)).start()
    sys.stdout.write("the last words")
    ending.end_soon(3, "what went wrong")

asyncio.run(main())
"""

PROMPT = """
import asyncio
from mrt_reward.cli import ending

ending.GRACE_S = 3600

async def main():
    ending.end_soon(3)

asyncio.run(main())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_a_process_ends_whatever_its_threads_do_and_says_what_it_had_to_say() -> None:
    done = run(STUCK)
    assert (done.returncode, done.stdout, done.stderr) == (3, "the last words", "what went wrong\n")


def test_a_process_without_such_threads_ends_by_itself() -> None:
    assert run(PROMPT).returncode == 0
