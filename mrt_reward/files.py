"""Files that are there whole or not at all: written beside their place, then moved into it."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mrt_reward.errors import ConfigError


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A scratch file in the same folder that takes the place of `path` when the block ends well.

    Where the block fails, `path` is as it was, and the scratch file is gone.

    Raises:
        ConfigError: the folder cannot be made or written.

    """
    # The process's own name for it, so that two runs do not write into one scratch file.
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.touch()
        yield scratch
        scratch.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}: name a place that can be", param="output") from error
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


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
            out.write(json.dumps(row, ensure_ascii=True, allow_nan=False) + "\n")
            num_rows += 1
    return num_rows


def write_json(path: Path, record: Mapping[str, object]) -> None:
    """Write one JSON object, indented.

    Raises:
        ConfigError: the file cannot be written.

    """
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(record, indent=2, ensure_ascii=True, allow_nan=False) + "\n", encoding="utf-8")
