"""Command-line flags that tell their default, unit and environment variable, read off the settings themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic import TypeAdapter

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.options import AUTHORS_SEGMENTERS, ScoreOptions


def setting(name: str) -> Any:  # noqa: ANN401 - what typer.Option returns
    """A flag for one of the settings; left out, the environment, the TOML file and the default decide."""
    return typer.Option(help=told_of(name), show_default=False)


def told_of(name: str) -> str:
    """A setting's description, default and variable, as --help shows them."""
    field = ServeSettings.model_fields[name]
    default = "none" if field.default in (None, ()) else field.get_default(call_default_factory=True)
    told = f"{field.description} [default: {default}; env: MRT_REWARD_{name.upper()}]"
    return told.replace("[", r"\[")


ENGINE_ARG: Any = typer.Option(
    metavar="KEY=VALUE",
    help=(
        "More arguments of vLLM's AsyncEngineArgs, such as enable_lora=true; repeatable; values are JSON or text. "
        r"\[default: none; env: MRT_REWARD_ENGINE_ARGS, as a JSON object]"
    ),
    show_default=False,
)


Model = Annotated[str | None, setting("model")]
Engine = Annotated[str | None, setting("engine")]
EngineUrl = Annotated[str | None, setting("engine_url")]
Tokenizer = Annotated[str | None, setting("tokenizer")]
Dtype = Annotated[str | None, setting("dtype")]
Device = Annotated[str | None, setting("device")]
MaxModelLen = Annotated[int | None, setting("max_model_len")]
EngineArgs = Annotated[list[str] | None, ENGINE_ARG]
"""Flags of the engine, for verbs that may need one."""


def engine_settings(
    model: str | None,
    engine: str | None,
    dtype: str | None,
    device: str | None,
    max_model_len: int | None,
    engine_arg: list[str] | None,
) -> ServeSettings:
    """Settings from these flags, the environment and the TOML file.

    Raises:
        ConfigError: they are not valid; the message names the setting.

    """
    return load_settings(
        model=model,
        engine=engine,
        dtype=dtype,
        device=device,
        max_model_len=max_model_len,
        engine_args=engine_args_from(engine_arg),
    )


def engine_args_from(given: list[str] | None) -> dict[str, object] | None:
    """Engine arguments from `key=value` words; a value is JSON where it can be read as such, else a string.

    Raises:
        ConfigError: a word has no `=`.

    """
    if not given:
        return None
    arguments: dict[str, object] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"--engine-arg: expected key=value, got {word!r}", param="engine_args")
        try:
            arguments[name.replace("-", "_")] = json.loads(text)
        except ValueError:
            arguments[name.replace("-", "_")] = text
    return arguments


def named_settings(word: str, flag: str) -> tuple[str, ServeSettings, ScoreOptions | None]:
    """A prover from `NAME=JSON` or `NAME=@FILE`: its name, its settings, and its scoring options where it has any.

    Raises:
        ConfigError: they are not valid; the message names the flag.

    """
    name, _, text = word.partition("=")
    try:
        record: object = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        if not name or not isinstance(record, dict):
            raise ValueError("expected a name and a JSON object")
        settings = cast("dict[str, Any]", record)
        given = settings.pop("options", None)
        options = None if given is None else TypeAdapter(ScoreOptions).validate_python(given)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{flag} {word!r}: expected NAME=JSON or NAME=@FILE: {error}", param=flag.strip("-")
        ) from error
    return name, load_settings(**settings), options


def options_from(text: str | None, default: ScoreOptions) -> ScoreOptions:
    """Scoring options from JSON, from a JSON file (`@path`), or from the name of one of the authors' segmenters.

    What is not told stays as it is by default.

    Raises:
        ConfigError: they are not valid; the message names the field.

    """
    if text is None:
        return default
    if text in AUTHORS_SEGMENTERS:
        return replace(default, segmenter=AUTHORS_SEGMENTERS[text])
    try:
        record: object = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        told = TypeAdapter(ScoreOptions).validate_python(record)
        named = cast("dict[str, object]", record) if isinstance(record, dict) else {}
        return replace(default, **{name: getattr(told, name) for name in named})
    except (OSError, ValueError) as error:
        known = ", ".join(AUTHORS_SEGMENTERS)
        raise ConfigError(f"--options: expected JSON, @FILE, or one of {known}: {error}", param="options") from error
