"""The folder of an evaluation: files that only grow, and that a kill at any point leaves usable.

A line is written whole and at once, when its work is done. What a kill may leave is a cut last line, which is dropped
when the folder is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

from mrt_reward.errors import ConfigError
from mrt_reward.evaluation.comparable import way_of
from mrt_reward.files import json_line, write_json, write_jsonl

TRACES, RESULTS, SETTINGS, RUNS = "traces.jsonl", "results.jsonl", "settings.json", "runs.jsonl"
SUMMARY, REPORT_MD, REPORT_HTML, FIGURES = "summary.json", "report.md", "report.html", "figures"


def _remedy(path: Path) -> str:
    return "name a file that can be" if path.parent.is_dir() else f"make the folder {path.parent} first"


class Log:
    """A JSONL file that grows line by line.

    Args:
        path: created if it is not there; a cut last line is removed.
        keep: which lines to keep from before.

    Raises:
        ConfigError: it cannot be written.

    """

    def __init__(self, path: Path, *, keep: Callable[[Mapping[str, Any]], bool] | None = None) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("a+b")
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror}): {_remedy(path)}", param="output"
            ) from error
        self._drop_cut_line()
        if keep is not None and not all(keep(fields) for _, fields in self.lines()):
            self._rewrite(keep)

    def _rewrite(self, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        write_jsonl(self.path, (fields for _, fields in self.lines() if keep(fields)))
        self._file.close()
        self._file = self.path.open("a+b")

    def _drop_cut_line(self) -> None:
        end = self._file.seek(0, os.SEEK_END)
        kept = end
        while kept:
            start = max(0, kept - 65_536)
            self._file.seek(start)
            block = self._file.read(kept - start)
            if (found := block.rfind(b"\n")) >= 0:
                kept = start + found + 1
                break
            kept = start
        if kept < end:
            self._file.truncate(kept)

    def add(self, fields: Mapping[str, Any]) -> int:
        """Write one line, whole, through to the operating system; returns its offset."""
        offset = self._file.seek(0, os.SEEK_END)
        self._file.write(json_line(fields).encode())
        self._file.flush()
        return offset

    def lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Offset and content of each line that is an object; others are skipped."""
        offset = 0
        with self.path.open("rb") as file:
            for line in file:
                try:
                    fields: object = json.loads(line)
                except ValueError:
                    fields = None
                if isinstance(fields, dict):
                    yield offset, cast("dict[str, Any]", fields)
                offset += len(line)

    def at(self, offset: int) -> dict[str, Any]:
        """The line that `lines` gave with this offset."""
        with self.path.open("rb") as file:
            file.seek(offset)
            return cast("dict[str, Any]", json.loads(file.readline()))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Folder:
    """An evaluation's folder, held by one process at a time.

    Args:
        path: created if it is not there.

    Raises:
        ConfigError: it cannot be written, or another process holds it.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
        except OSError as error:
            raise ConfigError(
                f"--output {path}: expected a folder that can be written, got: {error.strerror}", param="output"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigError(
                f"--output {path}: another `mrt-reward evaluate` is writing there: wait for it, or take another folder",
                param="output",
            ) from error

    def __enter__(self) -> Folder:
        """Hold it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let it go."""
        self._lock.close()

    def clear(self) -> None:
        """Remove what an evaluation wrote."""
        for name in (TRACES, RESULTS, SETTINGS, RUNS, SUMMARY, REPORT_MD, REPORT_HTML):
            (self.path / name).unlink(missing_ok=True)

    def add_run(self, model: str, run: Mapping[str, str]) -> None:
        """Write down that a call of a verb worked on a model, for the report to say where its numbers come from."""
        runs = Log(self.path / RUNS)
        runs.add({"model": model, **run})
        runs.close()

    def remember(self, model: str, settings: Mapping[str, Any]) -> None:
        """Write down how a model is evaluated; going on in another way would mix what cannot be mixed.

        Raises:
            ConfigError: the folder holds the model with other settings, or another whose values do not compare;
                the message names them.

        """
        file = self.path / SETTINGS
        known = cast("dict[str, Any]", json.loads(file.read_text())) if file.exists() else {}
        record: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
        before = known.get(model)
        if before is not None and before != record:
            changed = sorted(name for name in record | before if record.get(name) != before.get(name))
            raise ConfigError(
                f"{self.path} holds {model!r} with another {', '.join(changed)}: use the same, another "
                "--output, another --name, or --overwrite",
                param="output",
            )
        ways = {name: way_of(each["options"]) for name, each in (known | {model: record}).items() if "options" in each}
        for name, way in ways.items():
            if way != ways.get(model, way):
                raise ConfigError(
                    f"{self.path} holds {name!r} valued by {way}, which does not compare with {ways[model]}: use the "
                    "same --options, or another --output",
                    param="output",
                )
        write_json(file, known | {model: record})
