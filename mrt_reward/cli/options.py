"""Scoring options from a command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, ValidationError

from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import did_you_mean, mistakes
from mrt_reward.options import AUTHORS_SEGMENTERS, ScoreOptions

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
        [first, *_] = mistakes(error.errors(include_url=False), ScoreOptions)
        raise ConfigError(f"--options: {first}", param="options") from error
    except (OSError, ValueError) as error:
        known = ", ".join(AUTHORS_SEGMENTERS)
        near = did_you_mean(text, AUTHORS_SEGMENTERS)
        raise ConfigError(
            f"--options: expected JSON, @FILE, or one of {known}, got {text[:80]!r} ({error}){near}", param="options"
        ) from error
