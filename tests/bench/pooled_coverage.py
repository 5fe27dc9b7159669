"""Which share of intervals holds the truth, in the worst bin of the truth, over several runs of `compare-provers`.

    python -m tests.bench.pooled_coverage estimators.json other-seed.json …

Each file is what `compare-provers --estimators -o FILE` wrote for the same traces and another seed of the answers.
Traces of a problem share draws, so that bins of one run scatter by more than their numbers say.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter
from typing_extensions import TypedDict

ENOUGH = 30
"""Fewest intervals of a bin, in each file."""


class _Bin(TypedDict):
    num: int
    covered: float | None


class _Errors(TypedDict):
    name: str
    progress_bins: list[_Bin]
    value_bins: list[_Bin]


class _Record(TypedDict):
    errors: list[_Errors]


def lowest(runs: Sequence[Sequence[_Bin]]) -> tuple[float, float]:
    """Share over all bins, and in the lowest of those that hold enough; each run has the same bins."""
    known = [[each for each in column if each["covered"] is not None] for column in zip(*runs, strict=True)]
    pooled = [(_held(column), sum(each["num"] for each in column)) for column in known if column]
    overall = sum(held for held, _ in pooled) / sum(num for _, num in pooled)
    return overall, min(held / num for held, num in pooled if num >= ENOUGH * len(runs))


def _held(column: Iterable[_Bin]) -> float:
    return sum(each["num"] * (each["covered"] or 0.0) for each in column)


def main() -> None:
    """Print a row for each estimator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    files: list[Path] = parser.parse_args().files
    runs = [TypeAdapter(_Record).validate_json(path.read_bytes())["errors"] for path in files]
    print(f"{'intervals that hold the truth, in all and in the lowest bin':60}  progress        values")
    for rows in zip(*runs, strict=True):
        [name] = {row["name"] for row in rows}
        cells = [lowest([row[key] for row in rows]) for key in ("progress_bins", "value_bins")]
        print(f"{name:60}  " + "   ".join(f"{overall:6.1%} {low:6.1%}" for overall, low in cells))


if __name__ == "__main__":
    main()
