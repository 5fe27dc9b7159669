"""Rows as a Parquet file; needs pyarrow, of the extra `eval`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import islice
from pathlib import Path

from mrt_reward.errors import ConfigError
from mrt_reward.files import replacing
from mrt_reward.install import install_command

ROWS_AT_ONCE = 4096
"""Rows in memory at once: a row group of the file."""


def write_parquet(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows, which have the columns and types of the first few.

    Raises:
        ConfigError: the file cannot be written, or pyarrow is not installed.

    """
    try:
        # An optional extra, and one without types.
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(f"Parquet needs pyarrow ({error}): {install_command('eval')}, or write .jsonl") from error
    left = iter(rows)
    first = arrow.Table.from_pylist([dict(row) for row in islice(left, ROWS_AT_ONCE)])
    with replacing(path) as scratch, parquet.ParquetWriter(scratch, first.schema) as file:
        file.write_table(first)
        while batch := [dict(row) for row in islice(left, ROWS_AT_ONCE)]:
            file.write_table(arrow.Table.from_pylist(batch, schema=first.schema))
