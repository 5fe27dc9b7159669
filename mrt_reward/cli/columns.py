"""The columns of an input file, looked at before a model is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from mrt_reward.cli.jsonl import FileRow, read_rows
from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import OTHER_NAMES, did_you_mean, nearest, path_of
from mrt_reward.options import Rollouts, ScoreOptions
from mrt_reward.wire import TRACE_FIELDS

SCORED = frozenset({"trace", "values", "episodes"})
"""Columns of a file that `score` or `evaluate` wrote."""

NEED_ANSWERS = ("math", "exact")
"""Graders that compare with a gold answer."""

Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OURS=THEIRS",
        help="Read a column that has another name, such as problem=question; repeatable.",
        show_default=False,
    ),
]


def renames_from(words: list[str] | None) -> dict[str, str]:
    """From `OURS=THEIRS` words: the name that the file has, to ours.

    Raises:
        ConfigError: a word has no `=`, or names no column of ours; the message says the nearest.

    """
    renames: dict[str, str] = {}
    for word in words or ():
        ours, equals, theirs = word.partition("=")
        if not equals or not theirs:
            raise ConfigError(f"--map: expected OURS=THEIRS, such as problem=question, got {word!r}", param="map")
        if "," in theirs and "=" in theirs:
            several = " ".join(f"--map {each.strip()}" for each in word.split(","))
            raise ConfigError(f"--map {word}: expected one column a flag: {several}", param="map")
        if ours not in TRACE_FIELDS:
            known = ", ".join(sorted(TRACE_FIELDS))
            near = (
                f": the other way round, --map {theirs}={ours}?"
                if theirs in TRACE_FIELDS
                else did_you_mean(ours, TRACE_FIELDS)
            )
            raise ConfigError(f"--map {word}: expected one of {known} before the =, got {ours!r}{near}", param="map")
        renames[theirs] = ours
    return renames


@dataclass(frozen=True)
class Problems:
    """A file of problems and traces, which is read as often as it is needed and never held.

    Attributes:
        path: of the file.
        renames: its columns that have other names than ours, and ours.

    """

    path: Path
    renames: Mapping[str, str]

    def rows(self) -> Iterator[FileRow]:
        """Its rows from the start; those without a completion are problems."""
        return read_rows(self.path, self.renames, problems=True)


def refuse_unusable(source: Path, rows: Iterable[FileRow]) -> None:
    """Refuse a file of which no row is a trace or a problem; reads up to the first that is.

    Raises:
        ConfigError: the file is empty, or no row can be read; the message says what was found and what was expected.

    """
    first: FileRow | None = None
    num_rows = 0
    for row in rows:
        if row.trace is not None:
            return
        first = first or row
        num_rows += 1
    if first is None:
        raise ConfigError(f"{source} holds no row: expected a JSON object a line, with {_expected()}", param="source")
    raise ConfigError(
        f"{source}: none of {num_rows} rows can be used: {first.error}. Expected {_expected()}{_found(first)}",
        param="source",
    )


def refuse_unanswered(
    source: Path,
    rows: Iterable[FileRow],
    options: ScoreOptions,
    grader: str | None,
    renames: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse a file of which no row has the gold answer that the options need; reads up to the first that has.

    Args:
        source: path of the file, for messages.
        rows: rows of the file.
        options: how values are got.
        grader: specification of the grader that judges sampled answers; None where a server chooses it.
        renames: the file's names of columns of ours.

    Raises:
        ConfigError: no readable row has an answer.

    """
    if isinstance(options.estimator, Rollouts):
        needs, needed = f"the grader {grader!r}", grader in NEED_ANSWERS
    else:
        needs, needed = "the estimator `likelihood`", options.estimator.spellings is None
    if not needed:
        return
    first: FileRow | None = None
    for row in rows:
        if row.trace is not None and row.trace.answer:
            return
        first = first or (row if row.trace is not None else None)
    if first is not None:
        named = next((theirs for theirs, ours in renames.items() if ours == "answer"), None)
        what = "name its column by --map answer=…" if named is None else "name the right column, at the top of a row"
        raise ConfigError(
            f"{source}: no row has {'an `answer`' if named is None else f'a column {named!r} with an answer'}, which "
            f"{needs} needs: {what}, or take rollouts with a grader that needs none{_found(first)}",
            param="source",
        )


def notes_on(rows: Sequence[FileRow]) -> Iterator[str]:
    """What is done with columns that are not ours, and with ids that repeat."""
    extras = sorted({name for row in rows for name in row.extra})
    if extras:
        yield f"columns passed through under `extra`: {', '.join(extras)}"
    if options := [name for name in extras if path_of(name, ScoreOptions)]:
        yield f"of these, options of scoring change nothing in a row: give {', '.join(options)} in --options"
    if repeated := [row for row in rows if row.repeats]:
        yield (
            f"rows with the id of an earlier one: {len(repeated)}, written as ID#2 and so on, the first as "
            f"{repeated[0].id!r}; keep their order to go on with the output"
        )


def _expected() -> str:
    return "`problem` (or `messages`, or `prompt`), `completion` and `answer`"


def _found(row: FileRow) -> str:
    """The columns of a row that are not ours, and which flags would make them ours."""
    if not row.extra:
        return ""
    if row.extra.keys() >= SCORED:
        return (
            "; these rows are scored already: `mrt-reward report` reads them; or give the file that they were made of"
        )
    free, flags_of = list(row.extra), list[str]()
    for ours in OTHER_NAMES:
        if ours not in row.named and (theirs := _meant(ours, free)):
            free.remove(theirs)
            flags_of.append(f"--map {ours}={theirs}")
    flags = " ".join(flags_of)
    return f"; found {', '.join(row.extra)}{f': did you mean {flags}?' if flags else ''}"


def _meant(ours: str, found: list[str]) -> str | None:
    """The column that most probably holds what is called `ours` here."""
    lower = {name.lower(): name for name in reversed(found)}
    if near := nearest(ours, lower, 0.75):
        return lower[near]
    return next((lower[name] for name in OTHER_NAMES[ours] if name in lower), None)
