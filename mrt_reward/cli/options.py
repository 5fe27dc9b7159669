"""Scoring options from a command line, and what is wrong with them in words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from mrt_reward.errors import ConfigError, did_you_mean
from mrt_reward.options import AUTHORS_SEGMENTERS, Delimiters, Estimator, PathPrior, ScoreOptions, Segmenter, Terminator

OPTIONS = f"JSON|@FILE|{'|'.join(AUTHORS_SEGMENTERS)}"
"""What `--options` takes, as `--help` shows it."""


def options_from(text: str | None, default: ScoreOptions) -> ScoreOptions:
    """Scoring options from JSON, from a JSON file (`@path`), or from the name of one of the authors' segmenters.

    What is not given keeps its default.

    Raises:
        ConfigError: they are not valid; the message names the field.

    """
    if text is None:
        return default
    if text in AUTHORS_SEGMENTERS:
        return replace(default, segmenter=AUTHORS_SEGMENTERS[text])
    try:
        record: object = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        if not isinstance(record, dict):
            raise ValueError(f"a JSON {type(record).__name__}, and no object")
        chosen = TypeAdapter(ScoreOptions).validate_python(record)
        return replace(
            default, **{str(name): getattr(chosen, str(name)) for name in cast("dict[object, object]", record)}
        )
    except ValidationError as error:
        raise ConfigError(f"--options: {option_problem(error)}", param="options") from error
    except (OSError, ValueError) as error:
        known = ", ".join(AUTHORS_SEGMENTERS)
        near = did_you_mean(text, AUTHORS_SEGMENTERS)
        raise ConfigError(
            f"--options: expected JSON, @FILE, or one of {known}, got {text[:80]!r} ({error}){near}", param="options"
        ) from error


_KINDS: Mapping[str, Mapping[str, type[Any]]] = {
    name: {get_args(get_type_hints(each)["kind"])[0]: each for each in get_args(union)}
    for name, union in (("segmenter", Segmenter), ("estimator", Estimator))
}

_RECORDS: Mapping[str, type[Any]] = {
    "delimiters": Delimiters,
    "Terminator": Terminator,
    "prior": PathPrior,
    **_KINDS["segmenter"],
    **_KINDS["estimator"],
}
"""Records within the scoring options, by the name or the kind that stands for each in pydantic's errors."""


def option_problem(error: ValidationError) -> str:
    """The first thing that is wrong with scoring options: where, what was expected, and the nearest right word."""
    # Where a name or a mapping may stand, a mapping is no misspelt name.
    [first, *_] = sorted(
        error.errors(include_url=False),
        key=lambda each: each["type"] == "literal_error" and isinstance(each["input"], dict),
    )
    *within, name = [str(part) for part in first["loc"] if "[" not in str(part)] or ["options"]
    where = ".".join([*within, name])
    given: dict[str, Any] = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            record = _RECORDS.get(within[-1], ScoreOptions) if within else ScoreOptions
            known, got = [each.name for each in fields(record)], name
        case "union_tag_invalid":
            known, got = re.findall(r"'([^']*)'", str(given["expected_tags"])), str(given["tag"])
            where = f"{where}.kind"
        case "union_tag_not_found":
            return f"{where}.kind is missing: expected one of {', '.join(_KINDS[name])}"
        case "literal_error":
            known, got = re.findall(r"'([^']*)'", str(given["expected"])), str(first["input"])[:80]
        case _ if name in _KINDS:
            kinds = " or ".join(f'{{"kind": "{kind}"}}' for kind in list(_KINDS[name])[:2])
            return f"{where}: expected an object with its kind, such as {kinds}, got {str(first['input'])[:80]!r}"
        case _:
            return f"{where}: {first['msg']}, got {str(first['input'])[:80]!r}"
    return f"{where}: expected one of {', '.join(known)}, got {got!r}{did_you_mean(got, known)}"
