"""What a release is tried with, where nothing but the package is installed: its commands, and a trace that is scored.

`make dist` runs it by its path, isolated (`python -I`), in the environments that it made of the wheel and of the sdist.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import httpx

import mrt_reward.training
from mrt_reward.client import AsyncClient
from mrt_reward.config import ServeSettings
from mrt_reward.graders.build import build_grader
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.run import serve
from mrt_reward.service.scorer import Scorer
from mrt_reward.types import ScoredTrace, Trace

COMMAND = Path(sys.executable).with_name("mrt-reward")
SAID = {("--version",): version("mrt-reward"), ("--help",): "serve", ("bench", "--plan"): "tokens needed"}
"""Words of the command line, and what has to stand in its answer."""

VALUES = [0.25, 0.5, 0.5, 1.0]
TRACE = Trace(
    "t",
    problem="6 times 7?",
    completion="First.\n\na.\n\nb.\n\nWait.\n\nc.\n\nd.\n\nAlternatively.\n\ne.\n\nf.\n</think>\n\n\\boxed{84/2}",
    answer=("42",),
)


def try_command(said: Mapping[tuple[str, ...], str] = SAID) -> None:
    """Run the installed command with each of these words.

    Raises:
        AssertionError: it fails, or its answer is another.

    """
    for words, expected in said.items():
        done = subprocess.run([COMMAND, *words], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"mrt-reward {' '.join(words)} ended with {done.returncode}: {done.stderr}"
        assert expected in done.stdout, f"expected {expected!r} of mrt-reward {' '.join(words)}, got: {done.stdout}"


async def scored() -> ScoredTrace:
    """The trace as a server on loopback scores it, with a scripted prover and the grader of mathematics.

    Raises:
        AssertionError: `/livez` does not answer 200.

    """
    scorer = Scorer(ScriptedProver(VALUES), {"math": build_grader("math", num_workers=1)}, lambda answer: (answer,))
    settings = ServeSettings(port=0, admin_port=0, log_format="off", canary_every_s=0)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(scorer, settings, on_ready=ready.set_result))
    try:
        await asyncio.wait({server, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=300)
        if server.done():
            server.result()
        url = f"http://127.0.0.1:{ready.result()}"
        async with httpx.AsyncClient() as http:
            alive = await http.get(f"{url}/livez")
        assert alive.status_code == 200, f"expected 200 of /livez, got {alive.status_code}: {alive.text}"
        async with AsyncClient(url, timeout_s=300) as client:
            [found] = await client.score([TRACE])
    finally:
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
    return found


def main() -> None:
    """Try all of it, and say where it was imported from.

    Raises:
        AssertionError: something is not as expected.

    """
    try_command()
    found = asyncio.run(scored())
    progress = [episode.progress for episode in found.episodes]
    # The differences of VALUES; 84/2 is 42.
    assert (found.outcome, progress) == (1.0, [0.25, 0.0, 0.5]), f"the trace was scored otherwise: {found}"
    print(f"mrt-reward {version('mrt-reward')} of {Path(mrt_reward.training.__file__).parents[1]}: all is well")


if __name__ == "__main__":
    main()
