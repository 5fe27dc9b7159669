"""Rows as a Parquet file; needs pyarrow, of the extra `eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from mrt_reward.errors import ConfigError
from mrt_reward.files import replacing


def write_parquet(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows, columns in the order of the first.

    Raises:
        ConfigError: the file cannot be written, or pyarrow is not installed.

    """
    try:
        # An optional extra, and one without types.
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"Parquet needs pyarrow ({error}): pip install 'mrt-reward[eval]', or write .jsonl"
        ) from error
    table = arrow.Table.from_pylist([dict(row) for row in rows])
    with replacing(path) as scratch:
        parquet.write_table(table, scratch)
