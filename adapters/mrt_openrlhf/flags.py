"""`--mrt.*` flags and `MRT_*` variables, taken out before OpenRLHF's own parser, which refuses unknown ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mrt_openrlhf.setup import WHERE
from mrt_reward.errors import ConfigError
from mrt_reward.mistakes import nearest
from mrt_reward.training.settings import SETTING_NAMES, TrainingSettings, as_json

_FLAG, _VARIABLE, _SERVERS = f"{WHERE}.", "MRT_", "MRT_REWARD_"
_DEFAULTS = as_json(TrainingSettings())


def split_flags(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Settings by name, and the arguments that are OpenRLHF's.

    Raises:
        ConfigError: a flag has no value.

    """
    given: dict[str, Any] = {}
    theirs: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        if not word.startswith(_FLAG):
            theirs.append(word)
            continue
        name, has_value, value = word.removeprefix(_FLAG).partition("=")
        if not has_value:
            if not left or left[0].startswith("--"):
                raise ConfigError(f"{word} needs a value: {word} VALUE, or {word}=VALUE", param=word)
            value = left.pop(0)
        given[name] = _parsed(name, value)
    return given, theirs


def settings_of_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Settings by name from `MRT_ALPHA` and the like, and warnings of variables that look like misspelt ones."""
    given: dict[str, Any] = {}
    warnings: list[str] = []
    for variable, value in environment.items():
        if not variable.startswith(_VARIABLE) or variable.startswith(_SERVERS):
            continue
        name = variable.removeprefix(_VARIABLE).lower()
        if name in SETTING_NAMES:
            given[name] = _parsed(name, value)
        elif near := nearest(name, SETTING_NAMES, 0.75):
            warnings.append(f"{variable} is no setting; did you mean {_VARIABLE}{near.upper()}?")
    return given, warnings


def _parsed(name: str, text: str) -> Any:  # noqa: ANN401 - what JSON holds
    """A value: JSON where it is that, `none`, servers separated by commas, and text otherwise."""
    if name in ("url", "admin_url") and "," in text and not text.startswith("["):
        return [each.strip() for each in text.split(",")]
    if text == _DEFAULTS.get(name):
        return text  # such as `none`, which is a choice of some settings, and of others that they are unset
    try:
        return json.loads({"none": "null", "None": "null", "True": "true", "False": "false"}.get(text, text))
    except json.JSONDecodeError:
        return text
