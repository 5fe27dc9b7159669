"""Command-line flags that tell their default, unit and environment variable, read off the settings themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter

from mrt_reward.config import ServeSettings
from mrt_reward.errors import ConfigError
from mrt_reward.options import AUTHORS_SEGMENTERS, ScoreOptions


def setting(name: str) -> Any:  # noqa: ANN401 - what typer.Option returns
    """A flag for one of the settings; left out, the environment, the TOML file and the default decide."""
    field = ServeSettings.model_fields[name]
    default = "none" if field.default is None else field.get_default(call_default_factory=True)
    told = f"{field.description} [default: {default}; env: MRT_REWARD_{name.upper()}]"
    return typer.Option(help=told.replace("[", r"\["), show_default=False)


def options_from(text: str | None, default: ScoreOptions) -> ScoreOptions:
    """Scoring options from JSON, from a JSON file (`@path`), or from the name of one of the authors' segmenters.

    Raises:
        ConfigError: they are not valid; the message names the field.

    """
    if text is None:
        return default
    if text in AUTHORS_SEGMENTERS:
        return ScoreOptions(segmenter=AUTHORS_SEGMENTERS[text])
    try:
        record: object = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        return TypeAdapter(ScoreOptions).validate_python(record)
    except (OSError, ValueError) as error:
        known = ", ".join(AUTHORS_SEGMENTERS)
        raise ConfigError(f"--options: expected JSON, @FILE, or one of {known}: {error}", param="options") from error
