"""`mrt-reward evaluate` in a process that ends itself by SIGKILL at a chosen point; run by `test_kill`.

    python -m tests.cli.dying_evaluate POINT CALLS evaluate SOURCE -o FOLDER …

POINT is a number of lines in results.jsonl, at which the next call of the engine is the process's last act; `report`,
for a death between two files of the report; or `never`. CALLS is a file that gets a byte for each call of the engine.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from mrt_reward.cli import direct, evaluate
from mrt_reward.cli.app import app
from mrt_reward.config import ServeSettings
from mrt_reward.evaluation import report
from mrt_reward.evaluation.folder import RESULTS
from mrt_reward.protocols import Proof, Proven
from mrt_reward.service.scorer import Scorer
from tests.evaluation.conftest import CountingProver
from tests.service.conftest import WordGrader, speller


def die(*_: object, **__: object) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class DyingProver(CountingProver):
    """Dies where it should."""

    async def prove(self, proof: Proof) -> Proven:
        if point.isdigit() and results.read_bytes().count(b"\n") >= int(point):
            die()
        os.write(calls, b".")
        return await super().prove(proof)


def build(settings: ServeSettings) -> Scorer:
    del settings
    return Scorer(DyingProver(), {"word": WordGrader()}, speller)


if __name__ == "__main__":
    point, log, *words = sys.argv[1:]
    calls = os.open(log, os.O_WRONLY | os.O_APPEND)
    results = Path(words[words.index("-o") + 1]) / RESULTS
    evaluate.build_scorer = direct.build_scorer = build
    if point == "report":
        report.page = die
    app(words)
