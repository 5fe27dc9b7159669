"""Files that are whole or absent: written beside the target, then moved onto it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mrt_reward.errors import ConfigError

WEIGHTS_MARKER = ".complete"
"""File that whoever writes a folder of weights puts there last; servers load no folder without it."""


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A scratch file in the same folder that replaces `path` when the block ends well.

    Where the block fails, or the machine does, `path` is as it was. It keeps its permissions, and a link stays a link.

    Raises:
        ConfigError: the folder cannot be made, or the file not be written.

    """
    target = Path(os.path.realpath(path))
    # The process's own name for it, so that two runs do not write into one scratch file.
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratch.touch()
            if target.exists():
                shutil.copymode(target, scratch)
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            yield scratch
            _sync(scratch)
            scratch.replace(target)
        except OSError as error:
            if error.filename not in (None, str(scratch)):
                raise  # of another file, which the block reads
            raise _unwritable(path, error) from error
        with suppress(OSError):  # not every file system can sync a folder
            _sync(target.parent)
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be written: {error}: name a folder that can be written", param="output")


def _sync(path: Path) -> None:
    """Wait until the disk holds it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8.

    Raises:
        ConfigError: the file cannot be written.

    """
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, object]]) -> int:
    """Write rows as JSON lines; text that is no valid Unicode survives as escapes.

    Returns:
        How many.

    Raises:
        ConfigError: the file cannot be written.

    """
    num_rows = 0
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json_line(row))
            num_rows += 1
    return num_rows


def json_line(row: Mapping[str, object]) -> str:
    """A row as one line of JSON, in ASCII."""
    return json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n"


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write one JSON object, indented.

    Raises:
        ConfigError: the file cannot be written.

    """
    write_text(path, json.dumps(record, indent=2, ensure_ascii=True, allow_nan=False) + "\n")
