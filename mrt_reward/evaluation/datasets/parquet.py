"""Rows as a Parquet file; needs pyarrow, of the extra `eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from mrt_reward.errors import ConfigError
from mrt_reward.files import replacing


def write_parquet(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows, columns in the order of the first.

    Raises:
        ConfigError: the file cannot be written, or pyarrow is not installed.

    """
    try:
        from pyarrow import parquet  # noqa: PLC0415 - an optional extra
        from pyarrow.lib import Table  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"Parquet needs pyarrow ({error}): pip install 'mrt-reward[eval]', or write .jsonl"
        ) from error
    # pyarrow ships no types of its own.
    table = cast("Any", Table).from_pylist([dict(row) for row in rows])
    with replacing(path) as scratch:
        cast("Any", parquet).write_table(table, scratch)
