"""Settings that a command line gives in several words, such as `--engine-arg a=1 --engine-arg b=2`."""

from __future__ import annotations

import json
import re

from mrt_reward.errors import ConfigError

_NAMED_GRADER = re.compile(r"(?P<name>[A-Za-z0-9_-]+)=(?P<spec>.+)")


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
