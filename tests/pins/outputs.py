"""What users see and scripts read, made anew from fixed input by scripted engines.

    python -m tests.pins.outputs        writes the files that the tests compare with

Run it when an output changes on purpose, look at the difference, and say in CHANGELOG.md how to migrate.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer
from typer.testing import CliRunner

from mrt_reward.cli import direct, evaluate, score
from mrt_reward.cli.app import app
from mrt_reward.config import ServeSettings
from mrt_reward.server.app import create_admin_app, create_app
from mrt_reward.service.scorer import Scorer
from tests.evaluation.conftest import CountingProver
from tests.service.conftest import THINKING, WordGrader, speller

FILES = Path(__file__).parent / "files"

_RUN = CliRunner()
_COLUMNS = 80


def _scorer(_: ServeSettings) -> Scorer:
    return Scorer(CountingProver(), {"word": WordGrader()}, speller)


@contextmanager
def _scripted() -> Generator[None]:
    """The command line, with an engine that answers from a script."""
    patches = [patch.object(module, "build_scorer", _scorer) for module in (score, evaluate, direct)]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def _invoke(*arguments: str) -> None:
    with _scripted():
        done = _RUN.invoke(app, list(arguments))
    # A row without an answer makes `score` end with 1, and is written like the others.
    if not isinstance(done.exception, SystemExit | None):
        raise RuntimeError(f"{arguments}: {done.output} {done.exception!r}")


def help_of_all_verbs() -> str:
    """`--help` of every verb, as wide as a plain terminal."""
    verbs: list[tuple[str, ...]] = []

    def walk(command: Any, path: tuple[str, ...]) -> None:
        verbs.append(path)
        for name, child in sorted(getattr(command, "commands", {}).items()):
            walk(child, (*path, name))

    walk(typer.main.get_command(app), ())
    plain = {"COLUMNS": str(_COLUMNS), "TERM": "dumb", "NO_COLOR": "1", "_TYPER_FORCE_DISABLE_TERMINAL": "1"}
    texts = [_RUN.invoke(app, [*path, "--help"], env=plain).output for path in verbs]
    return "\n".join(line.rstrip() for text in texts for line in text.splitlines()) + "\n"


def openapi() -> str:
    """The public document, then the admin routes'."""

    async def documents() -> list[Any]:
        scorer, settings = _scorer(ServeSettings()), ServeSettings()
        try:
            return [create_app(scorer, settings).openapi(), create_admin_app(scorer, settings).openapi()]
        finally:
            await scorer.close()

    return json.dumps(asyncio.run(documents()), indent=1, sort_keys=True) + "\n"


def scored_lines() -> str:
    """`score` of a whole trace, one that was cut off, and one that has no answer."""
    rows = [
        {"id": "a", "problem": "6 times 7?", "answer": "42", "completion": THINKING + r"</think>\boxed{42}", "k": 1},
        {"id": "b", "problem": "6 times 7?", "answer": ["42"], "completion": "<think>\nFirst.\n\na."},
        {"id": "c", "problem": "6 times 7?", "completion": "<think>\nFirst.\n</think>42"},
    ]
    return _written("score", rows, "scored.jsonl", flags=lambda path: ("-o", str(path / "scored.jsonl")))


def results_lines() -> str:
    """What `evaluate` records of each trace that it samples."""
    return _evaluated("results.jsonl")


def summary() -> str:
    """What `evaluate` concludes."""
    return _evaluated("summary.json")


def _evaluated(name: str) -> str:
    rows = [{"id": f"p{index}", "problem": f"Question {index}?", "answer": "42"} for index in range(3)]
    flags = ("--max-tokens", "40", "--traces", "2", "--votes", "2", "--target", "0.4", "--budget", "100")
    return _written("evaluate", rows, f"out/{name}", flags=lambda path: ("-o", str(path / "out"), *flags))


def _written(
    verb: str, rows: Sequence[Mapping[str, object]], name: str, *, flags: Callable[[Path], tuple[str, ...]]
) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        source = path / "in.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
        _invoke(verb, str(source), *flags(path))
        text = (path / name).read_text()
    lines = [text] if name.endswith(".json") else sorted(text.splitlines())
    return "".join(json.dumps(_timeless(json.loads(line)), indent=1, sort_keys=True) + "\n" for line in lines)


def _timeless(record: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(record, dict):
        return {name: _timeless(value) for name, value in record.items() if name not in ("seconds", "version")}
    return [_timeless(each) for each in record] if isinstance(record, list) else record


OUTPUTS: dict[str, Callable[[], str]] = {
    "help.txt": help_of_all_verbs,
    "openapi.json": openapi,
    "scored.json": scored_lines,
    "results.json": results_lines,
    "summary.json": summary,
}


def main() -> None:
    FILES.mkdir(exist_ok=True)
    for name, make in OUTPUTS.items():
        (FILES / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
