"""Command-line flags, read off the settings and records that declare what is chosen by them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import typer
from annotated_types import Ge, Gt, Le
from pydantic import TypeAdapter, ValidationError
from typer.models import OptionInfo

from mrt_reward.cli.several import engine_args_from, graders_from
from mrt_reward.config import ServeSettings, load_settings, misspelt_variables
from mrt_reward.engine_settings import EngineSettings
from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import mistakes
from mrt_reward.options import ScoreOptions

T = TypeVar("T")
Verb = Callable[..., None]

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

_WORDS: Mapping[str, tuple[str, str, str]] = {
    "engine_args": (
        "engine_arg",
        "KEY=VALUE",
        "More arguments of vLLM's AsyncEngineArgs, such as enable_lora=true; repeatable; values are JSON or text. "
        "[default: none; env: MRT_REWARD_ENGINE_ARGS, as a JSON object]",
    ),
    "graders": (
        "grader",
        "SPEC",
        "What judges answers; repeatable as NAME=SPEC, the first is the default, and options.grader of a request "
        "names another. SPEC is math (equal mathematics, choices and words in any usual notation), exact (the gold's "
        "own text, up to white space and letter case: the strict one), module:function or score:module:function "
        "(yours), http://… (a server of scores) or model:PATH (a reward model). [default: math; env: "
        "MRT_REWARD_GRADERS, as a JSON object]",
    ),
}
"""Settings that a command line gives in several words: their flag, what stands for its value, and its help."""


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
    "tls_cert": "FILE",
    "tls_key": "FILE",
    "tls_client_ca": "FILE",
}
"""What stands for the value of a setting that is text."""

_HEADINGS: Mapping[str, tuple[str, ...]] = {
    "Prover and its engine": tuple(EngineSettings.model_fields),
    "Grading": ("graders",),
    "Addresses and access": (
        "host", "port", "admin_host", "admin_port", "tls_cert", "tls_key", "tls_client_ca", "no_key", "allowed_hosts",
        "weights_root",
    ),
    "Kept scores": ("cache_path", "cache_disk_mb", "cache_url"),
    "Limits and times": (
        "max_queue_tokens", "default_deadline_s", "drain_timeout_s", "canary_every_s", "max_body_mb", "max_connections",
    ),
    "Rewards and log": ("alpha", "paid_values", "log_format"),
}  # fmt: skip
"""Under which heading of `--help` the flags of settings stand."""
_HEADING_OF = {name: heading for heading, names in _HEADINGS.items() for name in names}


@dataclass(frozen=True, slots=True)
class Taking:
    """Options of a record that a verb takes as flags; the others keep their defaults.

    Attributes:
        names: of the options, in the order of `--help`; empty: all.
        words: flags of options that are not called after them.

    """

    names: tuple[str, ...]
    words: Mapping[str, str]


def taking(*names: str, **words: str) -> Taking:
    """Say which options of a record are flags, in the `Annotated` of a verb's parameter.

    Args:
        names: of the options, in the order of `--help`; none: all.
        words: flags by the option's name, such as `num_samples="--samples"`.

    """
    return Taking(names, words)


def with_settings(*names: str) -> Callable[[Verb], Verb]:
    """Give a verb flags in place of its parameters that are records, and of `settings`; it is called with those.

    A parameter whose type is a dataclass becomes the flags of its options. Where settings are named, `settings` becomes
    their flags: one that is left out leaves its setting to the environment, the TOML file and the default.

    Raises:
        ConfigError: when the verb is run, a setting or an option is not valid; the message names it.

    """

    def decorated(verb: Verb) -> Verb:
        own = inspect.signature(verb, eval_str=True).parameters
        flags = {_WORDS[name][0] if name in _WORDS else name: name for name in names}
        records = {each.name: found for each in own.values() if (found := _record_of(each)) is not None}

        def run(**given: Any) -> None:  # noqa: ANN401 - whatever the flags hold
            built = {
                parameter: chosen(record, **{name: given.pop(name) for name in _names(record, wanted)})
                for parameter, (record, wanted) in records.items()
            }
            if names:
                values = {name: given.pop(flag) for flag, name in flags.items()}
                if "engine_args" in values:
                    values["engine_args"] = engine_args_from(values["engine_args"])
                if "graders" in values:
                    values["graders"] = graders_from(values["graders"])
                for warning in misspelt_variables():
                    typer.echo(f"warning: {warning}", err=True)
                built["settings"] = load_settings(**values)
            verb(**given, **built)

        parameters: list[inspect.Parameter] = []
        for each in own.values():
            if each.name in records:
                new = _record_parameters(*records[each.name])
            elif names and each.name == "settings":
                new = [_parameter(flag, name) for flag, name in flags.items()]
            else:
                new = [each]
            parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in new]
        run.__name__, run.__doc__ = verb.__name__, verb.__doc__
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        cast("Any", run).__signature__ = inspect.Signature(parameters)
        return run

    return decorated


def _record_of(parameter: inspect.Parameter) -> tuple[type[Any], Taking] | None:
    """The record whose options a parameter stands for; None where it is a flag itself."""
    kind, *notes = get_args(parameter.annotation) if get_origin(parameter.annotation) is Annotated else (None,)
    kind = kind or parameter.annotation
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    return kind, next((each for each in notes if isinstance(each, Taking)), Taking((), {}))


def _names(record: type[Any], wanted: Taking) -> tuple[str, ...]:
    return wanted.names or tuple(each.name for each in fields(record))


def _record_parameters(record: type[Any], wanted: Taking) -> list[inspect.Parameter]:
    """A parameter for each option, as typer reads it; an option with a `typer.Option` of its own keeps it."""
    hints = get_type_hints(record, include_extras=True)
    defaults = {each.name: each.default for each in fields(record)}
    found: list[inspect.Parameter] = []
    for name in _names(record, wanted):
        hint, default = hints[name], defaults[name]
        if not any(isinstance(note, OptionInfo) for note in get_args(hint)):
            words = [wanted.words[name]] if name in wanted.words else []
            hint = Annotated[get_type_hints(record)[name], flag(record, name, *words)]
        found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint))
    return found


def _parameter(flag: str, name: str) -> inspect.Parameter:
    """The parameter of a flag, which is None where the flag is left out."""
    heading = _HEADING_OF[name]
    if name in _WORDS:
        _, metavar, text = _WORDS[name]
        option = typer.Option(metavar=metavar, help=text, show_default=False, rich_help_panel=heading)
        kind: Any = Annotated[list[str] | None, option]
    else:
        alternatives = _alternatives(ServeSettings.model_fields[name].annotation)
        known = [each for each in alternatives if each in (bool, int, float) or get_origin(each) is Literal]
        words = ["--no-key"] if name == "no_key" else []
        option = typer.Option(
            *words, help=_help_of(name), show_default=False, metavar=_METAVARS.get(name), rich_help_panel=heading
        )
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
    text: str = help or declared.metadata["description"]
    least = next((bound.ge for bound in bounds if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in bounds if isinstance(bound, Le)), None)
    # typer knows no open range.
    text += "".join(f" Above {bound.gt}." for bound in bounds if isinstance(bound, Gt))
    return typer.Option(*words, help=text, min=cast("Any", least), max=cast("Any", most))


def chosen(record: type[T], **given: Any) -> T:  # noqa: ANN401 - whatever its fields hold
    """A record from flags.

    Raises:
        ConfigError: one is outside its range, or does not go with another.

    """
    try:
        return record(**given)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def named_settings(word: str, flag: str, settings: ServeSettings) -> tuple[str, ServeSettings, ScoreOptions | None]:
    """A prover from `NAME=JSON` or `NAME=@FILE`.

    Args:
        word: the flag's value.
        flag: its name, for messages.
        settings: the verb's own, which hold where the JSON says nothing else.

    Returns:
        Its name, its settings, and its scoring options where it has any.

    Raises:
        ConfigError: they are not valid; the message names the flag.

    """
    name, _, text = word.partition("=")
    try:
        record: object = json.loads(Path(text[1:]).read_text() if text.startswith("@") else text)
        if not name or not isinstance(record, dict):
            raise ValueError("expected a name and a JSON object")
        own = cast("dict[str, Any]", record)
        given = own.pop("options", None)
        options = None if given is None else TypeAdapter(ScoreOptions).validate_python(given)
    except ValidationError as error:
        [first, *_] = mistakes(error.errors(include_url=False), ScoreOptions)
        raise ConfigError(f"{flag} {name}: options.{first}", param=flag.strip("-")) from error
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{flag} {word!r}: expected NAME=JSON or NAME=@FILE: {error}", param=flag.strip("-")
        ) from error
    common = settings.model_dump(exclude_unset=True)
    if "model" in own:
        common["tokenizer"] = None  # it was that of the other model
    return name, load_settings(**{**common, **own}), options
