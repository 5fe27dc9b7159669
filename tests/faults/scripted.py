"""A server of the scripted engine in a process of its own: `python -m tests.faults.scripted '{…}'`.

Its values follow from the text of each prefix, so that a wrong one is seen; what the engine did is in a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from mrt_reward.config import ServeSettings
from mrt_reward.graders.math import MathGrader
from mrt_reward.protocols import Proof, Proven
from mrt_reward.provers.scripted import ScriptedProver
from mrt_reward.server.run import serve
from mrt_reward.service.cache import ScoreCache, SQLiteStore
from mrt_reward.service.queue import QueueLimits
from mrt_reward.service.scorer import Scorer
from tests.service.conftest import WordGrader, speller

HELD = "hold this"
"""A trace with these words keeps the engine for ever."""

DAY_S = 86_400.0


def value_of(text: str, _: int = 0) -> float:
    """In (0, 1), other for every text."""
    return (1 + zlib.crc32(text.encode(errors="replace")) % 9998) / 10_000


@dataclass(frozen=True)
class Script:
    """What such a server is started with.

    Attributes:
        delay_s: of each proof.
        num_slots: of the engine.
        ledger: file to which each proof adds a line as it begins and as it ends.
        grader: "word", or "math" for the real one, in its processes.
        jumps: let every look at the clock on the wall be two days away from the last one.
        settings: of the server.

    """

    delay_s: float = 0.0
    num_slots: int = 4
    ledger: str = ""
    grader: str = "word"
    jumps: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


class Recording(ScriptedProver):
    """Writes down what it is asked; a kill takes nothing of that away."""

    def __init__(self, script: Script) -> None:
        super().__init__(value_of, delay_s=script.delay_s, num_slots=script.num_slots)
        self._file = os.open(script.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if script.ledger else None

    async def prove(self, proof: Proof) -> Proven:
        """As the script says; for ever where the trace asks for it."""
        self.proofs.clear()
        self._write("begun", proof)
        if HELD in self.tokenizer.locate(proof.token_ids)[0]:
            await asyncio.Event().wait()
        proven = await super().prove(proof)
        self._write("ended", proof)
        return proven

    def _write(self, what: str, proof: Proof) -> None:
        if self._file is not None:
            os.write(self._file, f"{what} {zlib.crc32(proof.token_ids.tobytes()):08x}\n".encode())


def logged(ledger: Path, what: str) -> list[str]:
    """Which traces' proofs have `begun` or `ended`, in order."""
    found = (line.split() for line in ledger.read_text(encoding="ascii").splitlines()) if ledger.exists() else ()
    return [trace for event, trace in found if event == what]


def scorer_of(script: Script) -> Scorer:
    settings = ServeSettings(**script.settings)
    store = SQLiteStore(Path(settings.cache_path)) if settings.cache_path else None
    limits = QueueLimits(settings.max_queue_tokens, settings.tokens_per_minute)
    cache = ScoreCache(settings.cache_memory_mb, store)
    grader = MathGrader() if script.grader == "math" else WordGrader()
    return Scorer(Recording(script), {script.grader: grader}, speller, cache=cache, limits=limits)


async def main(script: Script) -> None:
    own: dict[str, Any] = {"port": 0, "admin_port": 0, "log_format": "json", "canary_every_s": 0}
    settings = ServeSettings(**{**own, **script.settings})
    await serve(scorer_of(script), settings, on_ready=lambda port: print(port, flush=True))


if __name__ == "__main__":
    chosen = Script(**json.loads(sys.argv[1]))
    if chosen.jumps:
        looks = count()
        time.time = lambda: 1.8e9 + (next(looks) % 2) * 2 * DAY_S
    asyncio.run(main(chosen))
