"""The real server in a process of its own, with a scripted prover, which starts in a moment: `python -m … PORT`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass

from mrt_reward.config import load_settings
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.run import serve
from mrt_reward.service.scorer import Scorer
from tests.server.conftest import VALUES
from tests.service.conftest import WordGrader, speller
from tests.serving import Server

DELAY_S = 0.1
"""Of each proof, one at a time, so that a batch takes seconds."""


@dataclass
class ScriptedServer(Server):
    """Started as `Server` is."""

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.client.scripted_process", str(self.port)]
        self.process = subprocess.Popen(command, env=os.environ.copy())


if __name__ == "__main__":
    settings = load_settings(port=int(sys.argv[1]), admin_port=0, log_format="off", canary_every_s=0)
    prover = ScriptedProver(VALUES, delay_s=DELAY_S)
    asyncio.run(serve(Scorer(prover, {"word": WordGrader()}, speller), settings))
