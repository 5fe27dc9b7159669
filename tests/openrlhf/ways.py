"""Other ways to train with `python -m mrt_openrlhf`, each to its end: `python -m tests.openrlhf.ways WAY FOLDER`.

    async    OpenRLHF's asynchronous trainer
    abort    the same, with a score that comes too late and --mrt.on_failure abort, which stops it
    job      `ray job submit` to a Ray head, with a working directory, and the server's key in the job's variables

Run in OpenRLHF's environment, on a CPU. Each takes minutes, checks what it left, and says so.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.openrlhf.checking import Batches, check_batches, check_metrics, steps_of
from tests.openrlhf.cpu.cluster import ray_head, submit
from tests.openrlhf.cpu.run import REWARD, arguments, train, write_data
from tests.serving import Server
from tests.verl.faults import faulty

BATCHES = Batches(num_steps=3, prompts=4, samples=4)
ROWS = BATCHES.num_steps * BATCHES.prompts
KEY = "a key of the tests"


@contextmanager
def serving(folder: Path, api_key: str = "") -> Generator[Server]:
    """The prover's server."""
    server = Server(folder, api_key=api_key)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def asynchronous(folder: Path) -> str:
    """OpenRLHF's asynchronous trainer, to the end."""
    dump = folder / "dump"
    dump.mkdir()
    given = [*arguments(write_data(folder, ROWS), folder), "--train.async_enable", "--mrt.segmenter=paragraphs"]
    with serving(folder) as server:
        status, printed = train(folder, [*given, "--mrt.url", server.url], MRT_TEST_DUMP=str(dump))
    return trained(folder, dump, status, printed)


def aborted(folder: Path) -> str:
    """One late score of the first batch stops it."""
    given = [*arguments(write_data(folder, ROWS), folder), "--train.async_enable", "--mrt.segmenter=paragraphs"]
    given += ["--mrt.on_failure", "abort", "--mrt.timeout_s", "15"]
    with serving(folder) as server, faulty(server.url, hold_s=30, num_first=2) as (url, _):
        status, printed = train(folder, [*given, "--mrt.url", url])
    assert status != 0
    assert not steps_of(printed)
    [reported] = {line.partition("ProverError: ")[2] for line in printed.splitlines() if "errors.ProverError: " in line}
    # The garbled one may be late as well: it travels with the other, and is asked for again.
    assert re.match(r"[0-9]+ of 16 traces of this batch have no progress \(.*\); at most 0% may fail", reported), (
        reported
    )
    return f"stopped with status {status}: {reported}"


def job(folder: Path) -> str:
    """A job with a working directory, whose paths are relative to it."""
    dump, work = folder / "dump", folder / "work"
    dump.mkdir()
    work.mkdir()
    write_data(folder, ROWS)
    shutil.copy(folder / "train.jsonl", work)
    shutil.copy(REWARD, work / "reward.py")
    given = arguments(Path("train.jsonl"), folder, reward=Path("reward.py"))
    with serving(folder, KEY) as server, ray_head(folder) as url:
        variables = {"MRT_URL": server.url, "MRT_REWARD_API_KEY": KEY, "MRT_TEST_DUMP": str(dump)}
        words = ["python", "-m", "mrt_openrlhf", *given, "--mrt.segmenter=paragraphs"]
        status, printed = submit(work, url, words, variables)
    assert KEY not in printed
    return trained(folder, dump, status, printed)


def trained(folder: Path, dump: Path, status: int, printed: str) -> str:
    """See that a run came to its end, and that every token of every batch was paid what core says."""
    assert status == 0, printed[-5000:]
    steps = steps_of(printed)
    for step, lost in zip(steps, check_batches(dump, folder, BATCHES), strict=True):
        check_metrics(step, BATCHES.size, lost)
    return f"{len(steps)} steps to the end; every token was paid what core says"


def main(way: str, folder: Path) -> None:
    """Try one way in a folder of its own."""
    folder.mkdir(parents=True)
    started = time.monotonic()
    reported = {"async": asynchronous, "abort": aborted, "job": job}[way](folder)
    print(f"{way}, {time.monotonic() - started:.0f} s: {reported}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).absolute())
