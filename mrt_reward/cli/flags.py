"""Command-line flags, read off the settings and records that declare what is chosen by them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Gt, Le
from pydantic import TypeAdapter

from mrt_reward.config import ServeSettings, load_settings
from mrt_reward.errors import ConfigError
from mrt_reward.options import ScoreOptions

T = TypeVar("T")
Verb = Callable[..., None]

_NAMED_GRADER = re.compile(r"(?P<name>[A-Za-z0-9_-]+)=(?P<spec>.+)")

_NO_FLAG = frozenset(
    {
        "engine_api_key", "api_key", "admin_key", "keys", "grader_workers", "grader_timeout_s", "grader_memory_mb",
        "cache_memory_mb", "options",
    }
)  # fmt: skip
"""Keys, which lists of processes would show, and what is rather set for good, in a file or a variable."""

SERVE_FLAGS = tuple(name for name in ServeSettings.model_fields if name not in _NO_FLAG)
LOCAL_ENGINE = ("model", "engine", "dtype", "device", "threads", "max_kv_tokens", "max_model_len", "engine_args")
"""Settings of an engine that samples, for verbs that may need one."""

ENGINE = ("model", "engine", "engine_url", "tokenizer", *LOCAL_ENGINE[2:])

_WORDS: dict[str, tuple[str, Any]] = {
    "engine_args": (
        "engine_arg",
        typer.Option(
            metavar="KEY=VALUE",
            help=(
                "More arguments of vLLM's AsyncEngineArgs, such as enable_lora=true; repeatable; values are JSON or "
                "text. [default: none; env: MRT_REWARD_ENGINE_ARGS, as a JSON object]"
            ),
            show_default=False,
        ),
    ),
    "graders": (
        "grader",
        typer.Option(
            metavar="SPEC",
            help=(
                "What judges answers; repeatable as NAME=SPEC, the first is the default, and options.grader of a "
                "request names another. SPEC is math (equal mathematics, choices and words in any usual notation), "
                "exact (the gold's own text, up to white space and letter case: the strict one), module:function or "
                "score:module:function (yours), http://… (a server of scores) or model:PATH (a reward model). "
                "[default: math; env: MRT_REWARD_GRADERS, as a JSON object]"
            ),
            show_default=False,
        ),
    ),
}
"""Settings that a command line gives in several words: their flag."""


_METAVARS: Mapping[str, str] = {
    "model": "FOLDER|NAME",
    "engine_url": "URL[,URL...]",
    "engine_version": "VERSION",
    "tokenizer": "FOLDER|NAME",
    "device": "auto|cpu|cuda|cuda:N",
    "revision": "NAME",
    "host": "ADDRESS",
    "admin_host": "ADDRESS",
    "allowed_hosts": "NAME[,NAME...]",
    "weights_root": "FOLDER",
    "cache_path": "FILE",
    "cache_url": "URL",
}
"""What stands for the value of a setting that is text."""


def with_settings(*names: str) -> Callable[[Verb], Verb]:
    """Give a verb flags for these settings in place of its parameter `settings`, which it is called with.

    A flag that is left out leaves its setting to the environment, the TOML file and the default.

    Raises:
        ConfigError: when the verb is run, a setting is not valid; the message names it.

    """

    def decorated(verb: Verb) -> Verb:
        own = inspect.signature(verb, eval_str=True).parameters
        flags = {_WORDS[name][0] if name in _WORDS else name: name for name in names}

        def run(**given: Any) -> None:  # noqa: ANN401 - whatever the flags hold
            told = {name: given.pop(flag) for flag, name in flags.items()}
            if "engine_args" in told:
                told["engine_args"] = engine_args_from(told["engine_args"])
            if "graders" in told:
                told["graders"] = graders_from(told["graders"])
            verb(**given, settings=load_settings(**told))

        parameters: list[inspect.Parameter] = []
        for each in own.values():
            new = [_parameter(flag, name) for flag, name in flags.items()] if each.name == "settings" else [each]
            parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in new]
        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        cast("Any", run).__signature__ = inspect.Signature(parameters)
        return run

    return decorated


def _parameter(flag: str, name: str) -> inspect.Parameter:
    """The parameter of a flag, which is None where the flag is left out."""
    if name in _WORDS:
        kind: Any = Annotated[list[str] | None, _WORDS[name][1]]
    else:
        alternatives = _alternatives(ServeSettings.model_fields[name].annotation)
        known = [each for each in alternatives if each in (bool, int, float) or get_origin(each) is Literal]
        words = ["--no-key"] if name == "no_key" else []
        option = typer.Option(*words, help=_help_of(name), show_default=False, metavar=_METAVARS.get(name))
        kind = Annotated[(known or [str])[0] | None, option]
    return inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _help_of(name: str) -> str:
    """A setting's description, default and variable."""
    field = ServeSettings.model_fields[name]
    default = "none" if field.default in (None, ()) else field.get_default(call_default_factory=True)
    return f"{field.description} [default: {default}; env: MRT_REWARD_{name.upper()}]"


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401 - a type
    """What a type may be, besides None."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [each for each in kinds if each is not NoneType]


def flag(record: type[Any], name: str, *words: str, help: str | None = None) -> Any:  # noqa: A002, ANN401 - typer's own
    """A flag for an option of a record: the record says what it means, and its range.

    Args:
        record: a dataclass, which refuses what is outside its range.
        name: of the option.
        words: the flag itself, where it is not the parameter's name.
        help: what it means for this verb, where that is something else.

    """
    [declared] = [each for each in fields(record) if each.name == name]
    hint = get_type_hints(record, include_extras=True)[name]
    bounds = [bound for each in _alternatives(hint) if get_origin(each) is Annotated for bound in get_args(each)[1:]]
    told: str = help or declared.metadata["description"]
    least = next((bound.ge for bound in bounds if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in bounds if isinstance(bound, Le)), None)
    # typer knows no open range.
    told += "".join(f" Above {bound.gt}." for bound in bounds if isinstance(bound, Gt))
    return typer.Option(*words, help=told, min=cast("Any", least), max=cast("Any", most))


def chosen(record: type[T], **given: Any) -> T:  # noqa: ANN401 - whatever its fields hold
    """A record from flags.

    Raises:
        ConfigError: one is outside its range, or does not go with another.

    """
    try:
        return record(**given)
    except ValueError as error:
        raise ConfigError(str(error)) from error


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


def graders_from(given: list[str] | None) -> dict[str, str] | None:
    """Graders by name from `SPEC` and `NAME=SPEC` words, in order; a specification without a name is its own.

    Raises:
        ConfigError: two have the same name.

    """
    if not given:
        return None
    graders: dict[str, str] = {}
    for word in given:
        match = _NAMED_GRADER.fullmatch(word)
        name, spec = (match["name"], match["spec"]) if match else (word, word)
        if name in graders:
            raise ConfigError(f"--grader: expected each name once, got {name!r} twice", param="graders")
        graders[name] = spec
    return graders


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
